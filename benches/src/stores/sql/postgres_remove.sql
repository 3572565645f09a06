-- Everything whose name begins as the tables of one measurement do.
DO $$
DECLARE
    step text;
BEGIN
    FOR step IN
        SELECT format('DROP TABLE IF EXISTS %I.%I CASCADE', schemaname, tablename)
        FROM pg_tables
        WHERE starts_with(tablename, '{ns}_')
        UNION ALL
        SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure)
        FROM pg_proc
        WHERE starts_with(proname, '{ns}_')
    LOOP
        EXECUTE step;
    END LOOP;
END $$;
