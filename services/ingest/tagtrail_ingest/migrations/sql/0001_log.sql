-- The immutable log: one sequence of facts per tenant, dense positions from 1.
-- docs/adr/0002-append-function.md says why it has this form.

do $$
declare
    v_role text;
begin
    foreach v_role in array array['tagtrail_log_writer', 'tagtrail_log_reader'] loop
        -- Roles belong to the cluster: another database may be creating them at this moment.
        begin
            if not exists (select from pg_roles where rolname = v_role) then
                execute format('create role %I nologin', v_role);
            end if;
            -- The login takes these roles on its connections; creating one does not allow that.
            if not pg_has_role(current_user, v_role, 'SET') then
                execute format('grant %I to %I with inherit false, set true', v_role, current_user);
            end if;
        exception
            when duplicate_object or unique_violation then
                null;
            when insufficient_privilege then
                raise exception 'this login may not create or take the role %', v_role
                    using hint = format('have an administrator run: create role %1$I nologin; '
                                        'grant %1$I to %2$I', v_role, current_user);
        end;
    end loop;
end
$$;

-- One row per append. The tail of this table is the only counter: no sequence (it burns numbers
-- on rollback) and no head row (it degrades under long snapshots).
-- Checkpoints, tiles and archived spans get tables of their own (`checkpoint`, `segment`) later;
-- a segment is a whole partition of `event`, so it is one level-3 subtree of the Merkle tree.
create table log.batch (
    log_id         integer     not null,
    first_position bigint      not null,
    last_position  bigint      not null,
    recorded_at    timestamptz not null,
    writer         text        not null,
    families       integer     not null,
    root           bytea       not null,
    prev           bytea       not null,
    chain          bytea       not null,
    primary key (log_id, last_position),
    check (last_position >= first_position),
    check (octet_length(root) = 32 and octet_length(prev) = 32 and octet_length(chain) = 32)
);
-- recorded_at never decreases with the position, so a window of time is a window of positions.
create index batch_recorded_at on log.batch (log_id, recorded_at, last_position);

create table log.event (
    log_id      integer     not null,
    position    bigint      not null,
    recorded_at timestamptz not null,
    event_id    uuid        not null,
    subject     text        not null,
    type        text        not null,
    body        bytea       not null,
    leaf        bytea       not null,
    primary key (log_id, position)
) partition by range (position);
-- Finds known ids. It need not be unique: ids are looked up under the lock of their log.
create index event_id on log.event (event_id);
create index event_recorded_at on log.event using brin (recorded_at) with (pages_per_range = 32);

create table log.receipt (
    log_id      integer     not null,
    hash        bytea       not null,
    received_at timestamptz not null,
    primary key (log_id, hash)
);
comment on table log.receipt is
    'Broker messages whose facts are committed; a redelivery within the window is the same message.';

create function log.refuse() returns trigger
language plpgsql as $$
begin
    raise exception 'log.% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege',
              hint = 'Correct a fact by appending another one.';
end
$$;

create trigger refuse_change before update or delete on log.batch
    for each row execute function log.refuse();
create trigger refuse_truncate before truncate on log.batch
    for each statement execute function log.refuse();
-- Row triggers are cloned to every partition; those for TRUNCATE are not.
create trigger refuse_change before update or delete on log.event
    for each row execute function log.refuse();
create trigger refuse_truncate before truncate on log.event
    for each statement execute function log.refuse();

-- Creates partitions of `event` until some empty ones lie ahead, and returns how many it made.
-- A default partition would make ATTACH scan it and DETACH CONCURRENTLY impossible: there is none.
create function log.make_partitions(p_ahead integer default 2, p_size bigint default 16777216)
returns integer
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_partition regclass;
    v_upper bigint;
    v_end bigint := 1;
    v_empty integer := 0;
    v_wanted integer;
    v_used boolean;
    v_made integer := 0;
    v_name text;
begin
    perform pg_advisory_xact_lock(7002, 0);
    for v_partition, v_upper in
        select i.inhrelid::regclass,
               substring(pg_get_expr(c.relpartbound, c.oid) from $re$TO \('?(\d+)'?\)$re$)::bigint
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'log.event'::regclass
        order by 2
    loop
        v_end := v_upper;
        execute format('select exists (select from %s)', v_partition) into v_used;
        v_empty := case when v_used then 0 else v_empty + 1 end;
    end loop;
    v_wanted := p_ahead + case when v_end = 1 then 1 else 0 end;
    while v_empty < v_wanted loop
        v_name := format('event_%s', lpad(to_hex(v_end), 16, '0'));
        -- CREATE .. PARTITION OF would lock the parent exclusively; ATTACH lets appends go on.
        execute format('create table log.%I (like log.event including all)', v_name);
        execute format(
            'create trigger refuse_truncate before truncate on log.%I '
            'for each statement execute function log.refuse()', v_name);
        execute format('alter table log.event attach partition log.%I for values from (%s) to (%s)',
            v_name, v_end, v_end + p_size);
        v_end := v_end + p_size;
        v_empty := v_empty + 1;
        v_made := v_made + 1;
    end loop;
    return v_made;
end
$$;

create function log.prune_receipts(p_older_than interval) returns bigint
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with pruned as (
        delete from log.receipt where received_at < clock_timestamp() - p_older_than returning 1
    )
    select count(*) from pruned;
$$;

-- Appends facts as one batch, or nothing when some are known already: then it returns those with
-- their positions and the caller repeats the call without them. The Merkle root over the leaves
-- comes from the caller, who computes it outside the lock.
create function log.append(
    p_log_id integer,
    p_writer text,
    p_families integer,
    p_ids uuid[],
    p_subjects text[],
    p_types text[],
    p_bodies bytea[],
    p_leaves bytea,
    p_root bytea,
    p_receipts bytea[],
    out first_position bigint,
    out last_position bigint,
    out recorded_at timestamptz,
    out prev bytea,
    out chain bytea,
    out known_ids uuid[],
    out known_positions bigint[]
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
set enable_seqscan = off
set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_count constant integer := cardinality(p_ids);
    v_tail bigint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'log.append needs READ COMMITTED: an older snapshot would not see the tail'
            using errcode = 'invalid_transaction_state';
    end if;
    if p_log_id < 1 or v_count > 1000
        or cardinality(p_subjects) <> v_count or cardinality(p_types) <> v_count
        or cardinality(p_bodies) <> v_count or octet_length(p_leaves) <> 32 * v_count
    then
        raise exception 'log.append: the arrays do not belong together'
            using errcode = 'invalid_parameter_value';
    end if;
    perform pg_advisory_xact_lock(7001, p_log_id);
    -- A new statement has a new snapshot, taken after the lock: it sees the last holder's commit.
    select b.last_position, b.chain, b.recorded_at into v_tail, prev, recorded_at
        from log.batch b where b.log_id = p_log_id order by b.last_position desc limit 1;
    v_tail := coalesce(v_tail, 0);
    prev := coalesce(prev, decode(repeat('00', 32), 'hex'));
    recorded_at := greatest(clock_timestamp(), recorded_at);
    chain := prev;
    first_position := v_tail + 1;
    last_position := v_tail;
    if v_count > 0 and v_tail > 0 then
        -- log_id + 0 keeps the planner on the index of ids; position prunes the empty partitions.
        select array_agg(e.event_id), array_agg(e.position) into known_ids, known_positions
            from log.event e
            where e.event_id = any (p_ids) and e.log_id + 0 = p_log_id and e.position <= v_tail;
        if known_ids is not null then
            return;
        end if;
    end if;
    if cardinality(p_receipts) > 0 then
        insert into log.receipt (log_id, hash, received_at)
            select p_log_id, h, clock_timestamp() from unnest(p_receipts) h
            order by h
            on conflict (log_id, hash) do update set received_at = excluded.received_at;
    end if;
    if v_count = 0 then
        return;
    end if;
    last_position := v_tail + v_count;
    insert into log.event
        (log_id, position, recorded_at, event_id, subject, type, body, leaf)
        select p_log_id, v_tail + f.i, recorded_at, f.id, f.subject, f.type, f.body,
               substr(p_leaves, 32 * f.i - 31, 32)
        from (
            select generate_series(1, v_count) as i, unnest(p_ids) as id,
                   unnest(p_subjects) as subject, unnest(p_types) as type, unnest(p_bodies) as body
        ) f;
    chain := sha256('\x02'::bytea || prev || int8send(first_position) || int4send(v_count)
                    || p_root);
    insert into log.batch
        (log_id, first_position, last_position, recorded_at, writer, families, root, prev, chain)
        values (p_log_id, first_position, last_position, recorded_at, p_writer, p_families, p_root,
                prev, chain);
    -- A wake-up, never data; one per batch, because a notifying commit takes a cluster-wide lock.
    perform pg_notify('tagtrail_log', p_log_id || ':' || last_position);
end
$$;

revoke all on schema log from public;
revoke all on all functions in schema log from public;
grant usage on schema log to tagtrail_log_writer, tagtrail_log_reader;
grant select on log.batch, log.event, log.receipt to tagtrail_log_reader;
grant execute on function log.append, log.make_partitions, log.prune_receipts
    to tagtrail_log_writer;

select log.make_partitions();
