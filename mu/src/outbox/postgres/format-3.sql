-- Format 3: what is claimed (in the table of boots) is claimed once, by one messenger. What gives way is swept by statements of the program, each within its time, and no longer by functions. Some of these
-- were in early tables of format 2 only.

DROP FUNCTION IF EXISTS sweep(bigint, bigint, bigint, bigint);
DROP FUNCTION IF EXISTS forget(bigint, bigint);
DROP FUNCTION IF EXISTS make_room(boolean, bigint);

-- SQLSTATE HM002: it is claimed already. Two that claim the same at the same moment do so one after the other.
CREATE FUNCTION claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('holon messenger claim ' || current_schema()), hashtext(encode(NEW.process, 'hex')));
    IF EXISTS (SELECT FROM boot WHERE process = NEW.process) THEN
        RAISE EXCEPTION 'claimed' USING ERRCODE = 'HM002';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER claim BEFORE INSERT ON boot FOR EACH ROW EXECUTE FUNCTION claim();
