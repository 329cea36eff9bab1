-- Texts, one to a line, under what is to be said of them. The tables are `t(a int, b text, j jsonb, d timestamptz)` and
-- `u(a int, c text)`; the function `app.price(int)` is allowed, the names `ledger` and `tally` are barred.
-- read
SELECT 1
select 1;
select 1 ; ;
  SELECT	1
/* one */ select /* two /* three */ */ 1 -- four
SELECT a FROM t
SELECT a, b FROM t WHERE a = 1
SELECT a, b FROM t WHERE a = $1
SELECT abalance FROM pgbench_accounts WHERE aid = 4711;
SELECT * FROM t ORDER BY a LIMIT 10 OFFSET 20
SELECT DISTINCT b FROM t
SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a DESC
SELECT count(*) FROM t
SELECT COUNT ( * ) FROM t
SELECT Count(DISTINCT b) FROM t
select pg_catalog.count(*) from t
SELECT PG_CATALOG.lower(b) FROM t
SELECT count(*) FILTER (WHERE a > 1) FROM t
SELECT sum(a), avg(a), min(a), max(a) FROM t GROUP BY b HAVING count(*) > 1
SELECT b, row_number() OVER (PARTITION BY b ORDER BY a) FROM t
SELECT rank() OVER w FROM t WINDOW w AS (ORDER BY a)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FROM t
SELECT string_agg(b, ', ' ORDER BY b) FROM t
SELECT a FROM t WHERE a IN (1, 2, 3)
SELECT a FROM t WHERE a NOT IN (SELECT a FROM u)
SELECT a FROM t WHERE a = ANY ($1)
SELECT a FROM t WHERE a = ANY('{1,2,3}'::int[])
SELECT a FROM t WHERE a <> ALL (ARRAY[1, 2])
SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)
SELECT a FROM t WHERE (a, b) = (1, 'x')
SELECT a FROM t WHERE ROW(a, b) = ROW(1, 'x')
SELECT a FROM t WHERE a BETWEEN (1) AND (2)
SELECT a FROM t WHERE b LIKE 'x%' AND NOT (a = 1 OR a = 2)
SELECT a FROM t WHERE b ~ '^x'
SELECT t.a, u.c FROM t JOIN u ON (t.a = u.a)
SELECT t.a, u.c FROM t JOIN u USING (a)
SELECT t.a, x.c FROM t LEFT JOIN (SELECT a, c FROM u) x ON x.a = t.a
SELECT t.a FROM t INNER JOIN (u CROSS JOIN (VALUES (1)) v) ON true
SELECT x.a FROM t, LATERAL (SELECT t.a) x
SELECT a FROM (SELECT a FROM t) AS x
SELECT y FROM (VALUES (1), (2)) AS x(y)
SELECT y FROM generate_series(1, 10) AS x(y)
SELECT * FROM unnest(ARRAY[1, 2, 3]) WITH ORDINALITY AS x(e, n)
SELECT a FROM t UNION SELECT a FROM u
SELECT a FROM t UNION ALL (SELECT a FROM u ORDER BY a LIMIT 1)
(SELECT a FROM t) EXCEPT (SELECT a FROM u)
((SELECT 1))
SELECT a FROM t INTERSECT SELECT a FROM u
VALUES (1, 'x'), (2, 'y')
TABLE t
WITH x AS (SELECT a FROM t) SELECT a FROM x
WITH x(y) AS (SELECT a FROM t) SELECT y FROM x
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n
WITH x AS MATERIALIZED (SELECT a FROM t) SELECT a FROM x
SELECT CASE WHEN (a = 1) THEN (2) ELSE (3) END FROM t
SELECT CASE (a) WHEN 1 THEN 'one' END FROM t
SELECT coalesce(b, ''), nullif(a, 0), greatest(a, 1), least(a, 1) FROM t
SELECT CAST(a AS text), a::text, '1'::int FROM t
SELECT CAST(a AS numeric(10, 2)) FROM t
SELECT a::numeric(10, 2), b::varchar(5), b::character varying(5) FROM t
SELECT interval '1 day', timestamp '2020-01-01', date '2020-01-01'
SELECT now(), current_timestamp, current_date, current_user, session_user
SELECT extract(year FROM d), date_trunc('day', d), date_part('hour', d) FROM t
SELECT d AT TIME ZONE 'UTC' FROM t
SELECT age(d), to_char(d, 'YYYY-MM-DD') FROM t
SELECT substring(b FROM 1 FOR 2), substring(b, 1), position('x' IN b), trim(BOTH 'x' FROM b) FROM t
SELECT overlay(b PLACING 'x' FROM 1 FOR 2) FROM t
SELECT length(b), upper(b), lower(b), replace(b, 'x', 'y'), split_part(b, ',', 1), left(b, 1), right(b, 1) FROM t
SELECT b || 'x' || $1 FROM t
SELECT 'it''s', 'a;b', '/*', '--', '$$'
SELECT E'it\'s', E'\\', e'a\nb'
SELECT $$it's; DELETE$$, $tag$ $$ $tag$
SELECT "a" AS "update" FROM "t"
SELECT "a", 'set_config(1)', $$nextval('s')$$, "b" /* pg_sleep(1) */ FROM t -- pg_advisory_lock(1)
SELECT j -> 'x', j ->> 'y', j #> '{a,b}', j @> '{"a": 1}', j ? 'a' FROM t
SELECT jsonb_agg(j), json_build_object('a', a), row_to_json(t) FROM t GROUP BY a, t
SELECT * FROM jsonb_array_elements('[1, 2]') AS x(v)
SELECT * FROM jsonb_to_recordset('[]') AS x(a int, b text)
SELECT jsonb_path_query(j, '$.a') FROM t
SELECT array_length(ARRAY[1], 1), (ARRAY[1, 2, 3])[1:2], array(SELECT a FROM t)
SELECT a FROM t WHERE b IS NULL OR b IS NOT NULL OR b IS DISTINCT FROM 'x'
SELECT a FROM ONLY (t)
SELECT t.* FROM t
SELECT t.a FROM public.t t
SELECT a FROM t GROUP BY (a)
SELECT a FROM t ORDER BY (a)
SELECT - 1, + 2, 2 ^ 3, 5 % 2, @ 1, |/ 4, 1 <> 2
SELECT 0x10, 0o17, 0b1, 1_000, 1e10, .5, 1.5e-3, 1.5E+3
SELECT E'a', e'', $$$$, $a$$a$, $a$ $ $a$, $$ $a$ $$
SELECT (x).*, x.a, "x"."a" FROM t x
SELECT $1, $2::int
SELECT to_tsvector('english', b) @@ plainto_tsquery('x') FROM t
SELECT md5(b), encode(sha256('x'), 'hex') FROM t
SELECT current_setting('search_path')
SELECT current_database(), version()
SELECT pg_typeof(a) FROM t
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE pg_catalog.pg_table_is_visible(c.oid)
SELECT app.price(a) FROM t
SELECT App . Price (a) FROM t
SELECT b COLLATE "C" FROM t
SELECT a FROM t FETCH FIRST 5 ROWS ONLY
SELECT 'für' AS ü
SELECT 1 AS begin, 2 AS commit, 3 AS listen
SELECT 'ledger' -- tally
SELECT ledgers FROM t
-- barred
SELECT a FROM ledger
SELECT a FROM LEDGER WHERE a = 1
SELECT a FROM app.ledger
SELECT a FROM "ledger"
SELECT a FROM app."Ledger"
SELECT ledger FROM t
SELECT t.ledger FROM t
SELECT abs(1), tally FROM t
TABLE tally
WITH tally AS (SELECT 1) SELECT * FROM tally
SELECT a FROM t, ONLY ledger
SELECT a::ledger FROM t
-- function
SELECT pg_sleep(0)
SELECT set_config('work_mem', '1MB', false)
SELECT set_config ('work_mem', '1MB', false)
SELECT/**/set_config/**/('work_mem','1MB',false)
SELECT pg_catalog.set_config('work_mem', '1MB', false)
SELECT "set_config"('work_mem', '1MB', false)
SELECT pg_catalog."set_config"('work_mem', '1MB', false)
SELECT SET_CONFIG('work_mem', '1MB', false)
SELECT nextval('s')
SELECT setval('s', 1)
SELECT currval('s')
SELECT lastval()
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_lock(1)
SELECT pg_advisory_xact_lock(1)
SELECT pg_advisory_unlock_all()
SELECT pg_notify('c', 'x')
SELECT pg_listening_channels()
SELECT pg_terminate_backend(1)
SELECT pg_cancel_backend(1)
SELECT pg_reload_conf()
SELECT pg_export_snapshot()
SELECT txid_current()
SELECT lo_create(0)
SELECT query_to_xml('select set_config(1)', true, true, '')
SELECT * FROM dblink('select 1') AS x(a int)
SELECT app.cost(a) FROM t
SELECT cost(a) FROM t
SELECT price(a) FROM t
SELECT public.count(a) FROM t
SELECT other.price(a) FROM t
SELECT count(set_config('work_mem', '1MB', false))
SELECT a FROM t WHERE b = set_config('work_mem', '1MB', false)
SELECT a FROM t ORDER BY set_config('work_mem', '1MB', false)
SELECT a FROM set_config('work_mem', '1MB', false) AS x(a)
SELECT (SELECT set_config('work_mem', '1MB', false))
WITH x AS (SELECT set_config('work_mem', '1MB', false)) SELECT * FROM x
VALUES (set_config('work_mem', '1MB', false))
SELECT CASE WHEN true THEN set_config('work_mem', '1MB', false) END
SELECT 1 LIMIT length(set_config('work_mem', '1MB', false))
SELECT a::int[1:set_config('work_mem', '1', false)] FROM t
SELECT by(1)
SELECT join(1)
SELECT over(1)
SELECT filter(1)
SELECT 1 OPERATOR(pg_catalog.+) 2
SELECT random(), setseed(0.5)
SELECT pg_read_file('x')
SELECT pg_logical_emit_message(true, 'a', 'b')
SELECT pg_stat_reset()
SELECT gen_random_uuid()
SELECT currval('a'::regclass)
SELECT ts_stat('select 1')
SELECT a FROM t TABLESAMPLE system(10)
SELECT group(1)
SELECT varying(1)
SELECT current_schema()
SELECT current_schema
SELECT current_schemas(false)
SELECT ('s'::regclass).nextval
SELECT (1::bigint) . /* x */ pg_advisory_lock
SELECT (1::bigint)."pg_advisory_lock"
SELECT (array['s'::regclass])[1].nextval
SELECT $1.nextval
SELECT (t).a FROM t
SELECT x.nextval FROM unnest(array['s'::regclass]) x
SELECT X . "nextval" FROM unnest(array['s'::regclass]) x
SELECT x.pg_advisory_lock FROM generate_series(1::bigint, 2) AS x
SELECT pg_catalog.pg_advisory_lock FROM generate_series(1::bigint, 2) pg_catalog
SELECT pg_catalog.pg_advisory_lock FROM generate_series(1::bigint, 2) AS "pg_catalog" WHERE true
-- kind

;
INSERT INTO t VALUES (1)
UPDATE t SET a = 1
DELETE FROM t
MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE
TRUNCATE t
BEGIN
COMMIT
ROLLBACK
SAVEPOINT s
SET work_mem = '1MB'
SET LOCAL work_mem = '1MB'
RESET ALL
SHOW work_mem
LISTEN c
UNLISTEN *
NOTIFY c
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE ALL
DISCARD ALL
DECLARE c CURSOR FOR SELECT 1
DECLARE c CURSOR WITH HOLD FOR SELECT 1
FETCH 1 FROM c
CLOSE c
COPY t TO STDOUT
COPY (SELECT 1) TO STDOUT
LOCK TABLE t
CREATE TABLE x (a int)
CREATE TEMP TABLE x (a int)
CREATE TEMP TABLE x AS SELECT 1
DROP TABLE x
ALTER TABLE t ADD c int
VACUUM
ANALYZE t
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
DO $$ BEGIN END $$
CALL p()
LOAD 'x'
REINDEX TABLE t
CLUSTER
CHECKPOINT
GRANT SELECT ON t TO u
REFRESH MATERIALIZED VIEW v
START TRANSACTION
END
ABORT
PREPARE TRANSACTION 'x'
selectx 1
"select" 1
'select'
$1
x
(
/* select 1 */
-- select 1
1
-- locks
SELECT a FROM t FOR SHARE
SELECT a FROM t FOR KEY SHARE
SELECT a FROM t FOR NO KEY UPDATE
SELECT a FROM t FOR UPDATE
SELECT a FROM t FOR UPDATE NOWAIT
SELECT a FROM t FOR/**/UPDATE SKIP LOCKED
SELECT a FROM t for update OF t
SELECT * FROM (SELECT a FROM t FOR UPDATE) x
-- writes
SELECT a INTO x FROM t
SELECT a INTO TEMP x FROM t
SELECT a INTO TEMPORARY TABLE x FROM t
SELECT a INTO UNLOGGED x FROM t
WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT a FROM x
WITH x AS (UPDATE t SET a = 1 RETURNING a) SELECT a FROM x
WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x
WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x
WITH x AS (SELECT 1) DELETE FROM t
SELECT delete FROM t
-- several
SELECT 1; SELECT 2
SELECT 1; COMMIT
SELECT 1;;SELECT 2
SELECT 1; SET work_mem = '1MB'
SELECT 1; /* x */ BEGIN
select 1; select set_config('work_mem', '1MB', false)
-- unclear
SELECT U&'d\0061t\+000061' AS x FROM t WHERE false
SELECT U&"set\005fconfig"('work_mem', '1MB', false)
SELECT U&"set!005fconfig" UESCAPE '!' ('work_mem', '1MB', false)
SELECT u&"set_config" UESCAPE '!' ('work_mem', '1MB', false)
SELECT x.U&"nextval" FROM unnest(array['s'::regclass]) x
SELECT 1into temp y FROM t
SELECT 1e5into temp y FROM t
SELECT a FROM t WHERE a = 1for share
SELECT $1for share
SELECT 0xginto
SELECT 'a\'
SELECT 'a\'', set_config('work_mem', '1MB', false), 'b'
SELECT 'not closed
SELECT "not closed
SELECT E'not closed
SELECT E'not closed\'
SELECT E'
SELECT 1 /* not closed
SELECT $a$ not closed
SELECT $a$ not closed $
SELECT $a$a$
SELECT $$$
SELECT ""
SELECT '\'; SELECT set_config('work_mem', '1MB', false) --'
