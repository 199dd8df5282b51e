-- The oldest schema whose binaries may serve a database to which this step was applied; null: only those
-- that know the step itself.
alter table schema_steps add column serves_from integer;
