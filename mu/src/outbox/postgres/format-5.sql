-- Format 5: monitors are counted by lineage.

ALTER TABLE monitor ADD COLUMN lineage text;
CREATE INDEX monitor_by_lineage ON monitor (lineage) WHERE lineage IS NOT NULL;
CREATE FUNCTION descends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- As text: JSON may have what the database does not take, U+0000 for one. Within its strings quotes are escaped.
    NEW.lineage := substring(convert_from(NEW.monitor, 'UTF8') FROM '"lineage":"([^"]*)"');
    RETURN NEW;
END
$$;
CREATE TRIGGER descends BEFORE INSERT OR UPDATE ON monitor FOR EACH ROW EXECUTE FUNCTION descends();
