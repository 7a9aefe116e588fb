-- Format 3: what gives way is swept by statements of the program, each within its time, and no longer by functions. Some of these
-- were in early tables of format 2 only.

DROP FUNCTION IF EXISTS sweep(bigint, bigint, bigint, bigint);
DROP FUNCTION IF EXISTS forget(bigint, bigint);
DROP FUNCTION IF EXISTS make_room(boolean, bigint);
