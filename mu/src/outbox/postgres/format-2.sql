-- Format 2: what is remembered of processes gives way to what is newer, and tasks are found by the push they belong to.

ALTER TABLE process ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX process_by_number ON process (number);
ALTER TABLE boot ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX boot_by_number ON boot (number);
ALTER TABLE monitor ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX task_by_origin ON task (origin);

-- Lets processes, boots and marks of what is not to be monitored give way, the oldest first, until there are no more than so
-- many.
CREATE FUNCTION forget(p_processes bigint, p_unmonitored bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM process WHERE number <= (SELECT number FROM process ORDER BY number DESC OFFSET p_processes LIMIT 1);
    DELETE FROM boot WHERE number <= (SELECT number FROM boot ORDER BY number DESC OFFSET p_processes LIMIT 1);
    DELETE FROM monitor WHERE process IN (
        SELECT process FROM monitor WHERE convert_from(monitor, 'UTF8')::json ->> 'off' = 'true'
        ORDER BY number DESC OFFSET p_unmonitored
    );
END
$$;

-- Everything that gives way now and then. One messenger at a time does it; whether this one did.
CREATE FUNCTION sweep(p_dead bigint, p_unusable bigint, p_processes bigint, p_unmonitored bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(lock_class(), -1) THEN
        RETURN false;
    END IF;
    DELETE FROM account WHERE NOT EXISTS (SELECT FROM task WHERE task.origin = account.origin);
    PERFORM make_room(true, p_dead);
    PERFORM make_room(false, p_unusable);
    PERFORM forget(p_processes, p_unmonitored);
    RETURN true;
END
$$;
