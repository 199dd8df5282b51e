-- A row is a person who can sign in.
create table users (
    id uuid primary key not null,  -- the subject of their tokens
    username text not null unique, -- what they sign in with, in its one spelling
    password_hash text,            -- argon2id, as a PHC string; null: no password opens the account
    disabled_at bigint,            -- since when the account is switched off
    valid_from bigint not null,    -- what they authorized before this counts no more
    signed_in_at bigint,           -- when they last got a code redeemed
    created_at bigint not null,    -- when the account was made
    updated_at bigint not null     -- when it was last changed
);

-- A row is one authorization: one sign-in on one device, and every refresh token that descends from
-- it. A refresh changes it in place, and nothing that is indexed, so that Postgres never has to
-- touch an index; the room that pages keep is for that.
create table families (
    id uuid primary key not null,     -- UUIDv7: its time is the family's birth
    generation bigint not null,       -- the number of the refresh token that is live
    rotated_at bigint not null,       -- when that one was issued
    attempt bigint not null,          -- random with each change: tells our own success from another's
    client_id text not null,          -- whose it is
    subject uuid not null,            -- who authorized it
    resources text not null,          -- the resources that it covers, with spaces between
    scopes text not null,             -- the scopes that it covers, with spaces between
    authenticated_at bigint not null, -- when the person last proved who they are
    idle bigint not null,             -- it ends when so long nothing was refreshed (a duration)
    ends_at bigint not null,          -- it ends here, however much it is used
    suspended_at bigint,              -- since when its subject is switched off
    revoked_at bigint,                -- since when it is taken back, for good
    ended_by text,                    -- why it was taken back: a reason from the closed list
    key_thumbprint text,              -- the key whose holder alone may refresh (RFC 7638)
    user_agent text,                  -- what the person's browser calls itself, cut short
    network text                      -- where it came from, cut to a /24 or a /48
) with (fillfactor = 75);
create index families_by_subject on families (subject);
create index families_by_client on families (client_id);
create index families_by_end on families (ends_at);

-- A row is one authorization code, under its hash: the code itself is nowhere.
create table codes (
    digest bytea primary key not null, -- SHA-256 of the code
    client_id text not null,           -- whose it is
    subject uuid not null,             -- who authorized it
    redirect_uri text not null,        -- where the request said to send it; empty if it did not
    challenge text not null,           -- the PKCE challenge (S256)
    resources text not null,           -- the resources that it covers, with spaces between
    scopes text not null,              -- the scopes that it covers, with spaces between
    authenticated_at bigint not null,  -- when the person proved who they are
    expires_at bigint not null,        -- from here on it is worth nothing
    used_at bigint,                    -- when it was redeemed
    family_id uuid,                    -- the family that it made
    user_agent text,                   -- what the person's browser calls itself, cut short
    network text                       -- where it came from, cut to a /24 or a /48
);
create index codes_by_end on codes (expires_at);
create index codes_by_subject on codes (subject);

-- What was authorized for a client, or for anybody, before this counts no more: for refresh tokens,
-- which live longer than any act in the outbox.
alter table clients add column valid_from bigint;
alter table instance add column valid_from bigint;

-- While an operator says so: what the database learned since then may be lost, by a backup that was
-- restored, and a family's row may be any number of refreshes behind.
alter table instance add column lost_since bigint;
