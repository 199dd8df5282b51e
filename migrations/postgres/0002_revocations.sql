-- One row: the number of the latest act of revocation. An act takes its number last in its
-- transaction, so the order of numbers is the order of commits, and nothing ever appears behind a
-- reader's back.
create table revocation_head (
    id bigint primary key not null check (id = 1), -- always 1
    v bigint not null                              -- the latest number
);
insert into revocation_head (id, v) values (1, 0);

-- A row is one act of revocation, until nothing that it concerns can be alive any more.
create table revocations (
    id uuid primary key not null, -- derived from kind, key and issued_before: repeating changes nothing
    v bigint not null unique,     -- its number, in the order of commits
    stamp bigint not null,        -- random: with v it tells apart two histories of a failover
    kind text not null,           -- token, family, subject, client, resource, kid, everything
    key text not null,            -- which one of its kind
    issued_before bigint not null, -- of a watermark: only what was born before this; else 0
    expires_at bigint not null    -- when it can be forgotten
);
create index revocations_by_end on revocations (expires_at);

-- A row is a root secret whose id is taken: whoever adds one takes its id here first, so that two
-- who do so at once never give one id to two secrets.
create table root_secrets (
    id bigint primary key not null, -- its id in the file
    added_at bigint,       -- when its id was taken; null if it is older than this table
    compromised_at bigint,          -- since when it is known to be stolen
    dropped_at bigint               -- since when it is out of the file
);

-- Earlier root secrets that the private half was sealed under, as a list of ids: whoever stole one
-- of those may have opened it then.
alter table signing_keys add column sealed_before text not null default '';

-- Who looks something up in the trail knows the client or the request.
create index audit_events_by_client on audit_events (client_id, at);
create index audit_events_by_request on audit_events (request_id);
