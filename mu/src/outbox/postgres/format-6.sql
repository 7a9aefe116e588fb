-- Format 6: what is on its way into whose log, so that a messenger that pushes the results of a process knows of what others post
-- to it.

-- The process to whose log this posts, or whose result it pulls.
ALTER TABLE task ADD COLUMN log bytea;
-- Since when it may be there without anybody knowing; a pull has none.
ALTER TABLE task ADD COLUMN posted timestamptz;
-- The id of what this followed from, if that is smaller: what posted the item whose result this pulls.
ALTER TABLE task ADD COLUMN since bigint;
CREATE INDEX task_by_log ON task (log, id) WHERE log IS NOT NULL AND (posted IS NOT NULL OR fresh);

DROP FUNCTION change(bigint, boolean, bigint[], bigint[], bytea[], bytea[], smallint[], bytea[], boolean[], bytea[], bytea[], smallint[], bytea[], bytea[], boolean[], bytea[], bigint[], bigint[], bytea[], bigint[], boolean[], bytea[], bigint[], bytea[], bytea[], bytea[], bytea[], bytea[], bytea[], smallint[], bytea[], bytea[], smallint[], bytea[], bytea[], smallint[], bytea[], bytea[], bytea[]);
-- One atomic change. SQLSTATE HM001: something is not there, or not this messenger's.
CREATE FUNCTION change(
    p_me bigint,
    p_synced boolean,
    p_remove bigint[],
    p_put bigint[], p_put_tasks bytea[], p_put_bodies bytea[], p_put_logs bytea[],
    -- New tasks, intents after the others.
    p_new_shares smallint[], p_new_origins bytea[], p_new_held boolean[], p_new_tasks bytea[], p_new_bodies bytea[],
    p_new_logs bytea[], p_new_posts boolean[],
    -- Shares of new tasks that this messenger believes to have.
    p_hoped smallint[],
    p_dead bytea[], p_dead_bodies bytea[], p_dead_retryable boolean[], p_dead_owners bytea[], p_dead_bytes bigint[],
    p_dug_up bigint[],
    p_origins bytea[], p_more bigint[], p_afresh boolean[],
    p_trace_items bytea[], p_trace_ats bigint[], p_trace_processes bytea[], p_trace_events bytea[],
    p_processes bytea[], p_records bytea[],
    p_boots bytea[],
    p_born bytea[], p_born_shares smallint[], p_born_monitors bytea[],
    p_begun bytea[], p_begun_shares smallint[], p_begun_monitors bytea[],
    p_moved bytea[], p_moved_shares smallint[], p_moved_from bytea[], p_moved_to bytea[],
    p_ended bytea[],
    OUT ids bigint[], OUT ours boolean[]
) LANGUAGE plpgsql AS $$
DECLARE
    found_rows bigint;
    others bigint;
    touched smallint[];
    touched_too smallint[];
    owned smallint[];
    backlog smallint[];
BEGIN
    IF NOT p_synced THEN
        PERFORM set_config('synchronous_commit', 'off', true);
    END IF;
    IF cardinality(p_remove) > 0 THEN
        WITH gone AS (DELETE FROM task WHERE id = ANY (p_remove) RETURNING share, holder)
        SELECT count(*), count(*) FILTER (WHERE holder <> p_me), array_agg(DISTINCT share) FILTER (WHERE holder IS NULL)
        INTO found_rows, others, touched FROM gone;
        IF found_rows <> cardinality(p_remove) OR others > 0 THEN
            RAISE EXCEPTION 'lost' USING ERRCODE = 'HM001';
        END IF;
    END IF;
    IF cardinality(p_put) > 0 THEN
        WITH staged AS (
            UPDATE task SET task = staged.task, body = staged.body, log = staged.log,
                posted = CASE WHEN staged.log IS NOT NULL THEN clock_timestamp() END
            FROM unnest(p_put, p_put_tasks, p_put_bodies, p_put_logs) AS staged (id, task, body, log)
            WHERE task.id = staged.id
            RETURNING task.share, task.holder
        )
        SELECT count(*), count(*) FILTER (WHERE holder <> p_me), array_agg(DISTINCT share) FILTER (WHERE holder IS NULL)
        INTO found_rows, others, touched_too FROM staged;
        IF found_rows <> cardinality(p_put) OR others > 0 THEN
            RAISE EXCEPTION 'lost' USING ERRCODE = 'HM001';
        END IF;
    END IF;
    touched := COALESCE(touched, '{}') || COALESCE(touched_too, '{}') || p_moved_shares;
    IF cardinality(touched) + cardinality(p_hoped) > 0 THEN
        PERFORM pg_advisory_xact_lock_shared(lock_class(), id)
        FROM (SELECT DISTINCT unnest(touched || p_hoped)::integer AS id ORDER BY 1) locks;
        owned := ARRAY(SELECT id FROM share WHERE id = ANY (touched || p_hoped) AND owner = p_me);
        IF NOT touched <@ owned THEN
            RAISE EXCEPTION 'lost' USING ERRCODE = 'HM001';
        END IF;
    END IF;
    IF cardinality(p_new_shares) > 0 THEN
        -- Behind tasks that the owner has yet to be told of, nothing may overtake them.
        backlog := ARRAY(SELECT DISTINCT share FROM task WHERE fresh AND share = ANY (p_new_shares));
        ids := ARRAY(SELECT nextval(pg_get_serial_sequence('task', 'id')) FROM generate_series(1, cardinality(p_new_shares)));
        ours := ARRAY(
            SELECT held OR (share = ANY (COALESCE(owned, '{}')) AND NOT share = ANY (backlog))
            FROM unnest(p_new_shares, p_new_held) WITH ORDINALITY AS made (share, held, place) ORDER BY place
        );
        INSERT INTO task (id, share, origin, holder, fresh, task, body, log, posted, since)
        SELECT made.id, made.share, made.origin, CASE WHEN made.held THEN p_me END, NOT made.ours, made.task, made.body,
            made.log, CASE WHEN made.posts THEN clock_timestamp() END,
            LEAST(made.id, (SELECT min(removed) FROM unnest(p_remove) removed))
        FROM unnest(ids, ours, p_new_shares, p_new_origins, p_new_held, p_new_tasks, p_new_bodies, p_new_logs, p_new_posts)
            AS made (id, ours, share, origin, held, task, body, log, posts);
        IF false = ANY (ours) THEN
            PERFORM wake(
                ARRAY(SELECT made.share FROM unnest(ours, p_new_shares) AS made (ours, share) WHERE NOT made.ours), 't'
            );
        END IF;
    END IF;
    IF cardinality(p_dug_up) > 0 THEN
        DELETE FROM dead_letter WHERE id = ANY (p_dug_up);
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        IF found_rows <> cardinality(p_dug_up) THEN
            RAISE EXCEPTION 'lost' USING ERRCODE = 'HM001';
        END IF;
    END IF;
    IF cardinality(p_dead) > 0 THEN
        INSERT INTO dead_letter (letter, body, retryable, owner, bytes)
        SELECT letter, body, retryable, owner, bytes
        FROM unnest(p_dead, p_dead_bodies, p_dead_retryable, p_dead_owners, p_dead_bytes)
            WITH ORDINALITY AS dead (letter, body, retryable, owner, bytes, place) ORDER BY place;
    END IF;
    IF cardinality(p_origins) > 0 THEN
        INSERT INTO account (origin, pushed)
        SELECT charge.origin, sum(charge.more)
        FROM unnest(p_origins, p_more, p_afresh) AS charge (origin, more, afresh)
        WHERE NOT charge.afresh GROUP BY 1 ORDER BY 1
        ON CONFLICT (origin) DO UPDATE SET pushed = account.pushed + excluded.pushed;
        UPDATE account SET pushed = 0
        WHERE origin = ANY (ARRAY(SELECT o FROM unnest(p_origins, p_afresh) AS a (o, afresh) WHERE afresh));
    END IF;
    IF cardinality(p_trace_items) > 0 THEN
        INSERT INTO trace (item, at, process, event)
        SELECT item, at, process, event
        FROM unnest(p_trace_items, p_trace_ats, p_trace_processes, p_trace_events)
            WITH ORDINALITY AS told (item, at, process, event, place) ORDER BY place;
    END IF;
    IF cardinality(p_processes) > 0 THEN
        INSERT INTO process (id, record) SELECT * FROM unnest(p_processes, p_records) AS known (id, record) ORDER BY 1
        ON CONFLICT (id) DO NOTHING;
    END IF;
    IF cardinality(p_boots) > 0 THEN
        INSERT INTO boot (process) SELECT DISTINCT unnest(p_boots) ORDER BY 1 ON CONFLICT DO NOTHING;
    END IF;
    IF cardinality(p_moved) > 0 THEN
        UPDATE monitor SET monitor = moved.after
        FROM unnest(p_moved, p_moved_from, p_moved_to) AS moved (process, before, after)
        WHERE monitor.process = moved.process AND monitor.monitor = moved.before;
        GET DIAGNOSTICS found_rows = ROW_COUNT;
        IF found_rows <> cardinality(p_moved) THEN
            RAISE EXCEPTION 'lost' USING ERRCODE = 'HM001';
        END IF;
    END IF;
    IF cardinality(p_born) > 0 THEN
        INSERT INTO monitor (process, share, monitor)
        SELECT * FROM unnest(p_born, p_born_shares, p_born_monitors) AS born (process, share, monitor) ORDER BY 1
        ON CONFLICT (process) DO NOTHING;
        PERFORM wake(p_born_shares, 'm');
    END IF;
    IF cardinality(p_begun) > 0 THEN
        INSERT INTO monitor (process, share, monitor)
        SELECT * FROM unnest(p_begun, p_begun_shares, p_begun_monitors) AS begun (process, share, monitor) ORDER BY 1
        ON CONFLICT (process) DO UPDATE SET monitor = excluded.monitor;
        PERFORM wake(p_begun_shares, 'm');
    END IF;
    IF cardinality(p_ended) > 0 THEN
        PERFORM wake(ARRAY(SELECT share FROM monitor WHERE process = ANY (p_ended)), 'm');
        DELETE FROM monitor WHERE process = ANY (p_ended);
    END IF;
END
$$;
