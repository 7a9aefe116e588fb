-- Format 4: what is claimed (in the table of boots) is claimed once, by one messenger. Some early tables of format 3 know this already.

-- SQLSTATE HM002: it is claimed already. Two that claim the same at the same moment do so one after the other.
CREATE OR REPLACE FUNCTION claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('holon messenger claim ' || current_schema()), hashtext(encode(NEW.process, 'hex')));
    IF EXISTS (SELECT FROM boot WHERE process = NEW.process) THEN
        RAISE EXCEPTION 'claimed' USING ERRCODE = 'HM002';
    END IF;
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS claim ON boot;
CREATE TRIGGER claim BEFORE INSERT ON boot FOR EACH ROW EXECUTE FUNCTION claim();
