-- What a client may say of its sign-ins, where the settings say it for all (both are durations, and null
-- is the default); and how many of them one person may have alive, where null is any number.
alter table clients add column refresh_idle integer;     -- a family ends when so long nothing was refreshed
alter table clients add column refresh_absolute integer; -- a family ends after so long, however it is used
alter table clients add column refresh_families integer; -- the most families that a person has alive here
