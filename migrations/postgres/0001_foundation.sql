-- Times are microseconds since 1970 on the time base of the database.

-- One row: the issuer that this database belongs to.
create table instance (
    id bigint primary key not null check (id = 1), -- always 1
    issuer text not null,                          -- the issuer identifier, byte for byte
    is_dev boolean not null,                       -- made by `serve --dev`: never served otherwise
    created_at bigint not null                     -- when it was set up
);

-- A row is one part of the data that replicas hold in memory; it changes with every write to it.
create table versions (
    part text primary key not null, -- the part's name
    number bigint not null,         -- grows by one with each write
    stamp bigint not null           -- random with each write: tells apart two histories of a failover
);
insert into versions (part, number, stamp) values ('directory', 0, 0), ('keys', 0, 0);

-- A row is a signing key, from its creation to its tombstone. Its stage follows from its times.
create table signing_keys (
    kid text primary key not null,     -- RFC 7638 thumbprint of the public half
    algorithm text not null,           -- the line it belongs to
    epoch bigint not null,             -- its place in the line, from 1
    public_jwk text not null,          -- the public half as a JWK
    sealed bytea,                      -- the private half, sealed; null once destroyed
    secret_id bigint not null,         -- the root secret it is sealed and vouched for under
    mac bytea not null,                -- vouches for kid, algorithm, epoch, public_jwk and sealed
    created_at bigint not null,        -- when it was made
    publish_at bigint not null,        -- from here on it is in the JWKS
    activate_at bigint not null,       -- from here on it signs
    sign_until bigint not null,        -- from here on it no longer signs
    remove_at bigint not null,         -- from here on it is out of the JWKS
    longest_token bigint not null,     -- no token it signs lives longer (a duration)
    held boolean not null,             -- an operator keeps it in the JWKS
    compromised_at bigint,             -- since when it is known to be stolen
    unique (algorithm, epoch)
);

-- A row is an API that accepts our tokens.
create table resources (
    id text primary key not null, -- the identifier: the audience of its tokens
    scopes jsonb not null,        -- what it understands: [{"name", "description"}]
    claims jsonb not null,        -- static claims of its tokens
    created_at bigint not null,   -- when it was registered
    updated_at bigint not null    -- when it was last changed
);

-- A row is a registered client.
create table clients (
    id text primary key not null,   -- the client identifier
    name text not null,             -- its name for people
    auth_method text not null,      -- the one way in which it authenticates
    grants jsonb not null,          -- the grants it may use
    redirect_uris jsonb not null,   -- where a browser may be sent back to
    resources jsonb not null,       -- the resources it may ask tokens for
    default_resource text,          -- the resource of a request that names none
    scopes jsonb,                   -- the scopes it may have; null: all of its resources
    default_scopes jsonb,           -- the scopes of a request that names none; null: all allowed
    introspects jsonb not null,     -- the resources whose tokens it may introspect
    access_token_ttl bigint,        -- how long its access tokens live (a duration); null: the default
    algorithm text,                 -- the key line that signs for it; null: the default
    refresh_retry text,             -- what happens when it repeats a refresh; null: the default
    first_party boolean not null,   -- it is the operator's own: people are not asked for consent
    claims jsonb not null,          -- static claims of its tokens
    disabled_at bigint,             -- since when it is switched off
    created_at bigint not null,     -- when it was registered
    updated_at bigint not null      -- when it was last changed
);

-- A row is one secret of a client; two may live at once, so that a client can change over.
create table client_secrets (
    id uuid primary key not null, -- the row's name
    client_id text not null references clients (id) on delete cascade, -- whose it is
    digest bytea not null,        -- HMAC-SHA-256 of it under the pepper
    pepper_id bigint not null,    -- the root secret that the pepper derives from
    hint text not null,           -- its first characters if it was generated
    created_at bigint not null,   -- when it was made
    expires_at bigint,            -- until when it still works, once it has a successor
    last_used_at bigint           -- when it was last seen, to the minute
);
create index client_secrets_by_client on client_secrets (client_id);

-- A row is what `apply` last wrote to one field, so that a restart writes only what the file
-- changed and never undoes an operator's act. It outlives its object: then an operator deleted it.
create table applied_fields (
    kind text not null,      -- client or resource
    object_id text not null, -- which one
    field text not null,     -- which field
    digest text not null,    -- of the value in the file
    primary key (kind, object_id, field)
);

-- A row is one security event. Rows are only ever added.
create table audit_events (
    id uuid primary key not null, -- UUIDv7: rows sort by time
    at bigint not null,           -- when it happened
    action text not null,         -- what happened
    actor text not null,          -- who did it: an operator, the server, a client
    reason text,                  -- the reason, for a refusal
    client_id text,               -- the client concerned
    resource text,                -- the resource concerned
    kid text,                     -- the key concerned
    request_id text,              -- the request that caused it
    detail jsonb not null         -- what else there is to know; never a secret
);
create index audit_events_by_time on audit_events (at);
