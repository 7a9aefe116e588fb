-- Format 7: messengers from before format 6 go on beside those of now until they are upgraded as well. Format 6 had taken the function
-- away that they call. What they post and pull is not known by its log, so results that follow from it keep no order with others'.

CREATE FUNCTION change(
    p_me bigint,
    p_synced boolean,
    p_remove bigint[],
    p_put bigint[], p_put_tasks bytea[], p_put_bodies bytea[],
    -- New tasks, intents after the others.
    p_new_shares smallint[], p_new_origins bytea[], p_new_held boolean[], p_new_tasks bytea[], p_new_bodies bytea[],
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
) LANGUAGE sql AS $$
    SELECT ids, ours FROM change(
        p_me, p_synced, p_remove, p_put, p_put_tasks, p_put_bodies, '{}'::bytea[], p_new_shares, p_new_origins,
        p_new_held, p_new_tasks, p_new_bodies, '{}'::bytea[], '{}'::boolean[], p_hoped, p_dead, p_dead_bodies,
        p_dead_retryable, p_dead_owners, p_dead_bytes, p_dug_up, p_origins, p_more, p_afresh, p_trace_items,
        p_trace_ats, p_trace_processes, p_trace_events, p_processes, p_records, p_boots, p_born, p_born_shares,
        p_born_monitors, p_begun, p_begun_shares, p_begun_monitors, p_moved, p_moved_shares, p_moved_from, p_moved_to,
        p_ended
    )
$$;
