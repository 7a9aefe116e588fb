-- Format 2: what is remembered of processes gives way to what is newer, and tasks are found by the push they belong to.

ALTER TABLE process ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX process_by_number ON process (number);
ALTER TABLE boot ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX boot_by_number ON boot (number);
ALTER TABLE monitor ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
CREATE INDEX task_by_origin ON task (origin);
