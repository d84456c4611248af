-- Erasure: the body of an event goes, its leaf stays, so every root, chain and proof still verifies.
-- docs/adr/0013-erasure-of-sightings.md says why it has this form.

-- Which bodies are gone, and by which order. An empty body without a row here is damage.
create table log.erasure (
    log_id         integer     not null,
    position       bigint      not null,
    order_position bigint      not null,
    again          boolean     not null,
    erased_at      timestamptz not null default clock_timestamp(),
    primary key (log_id, position),
    check (order_position > position)
);
create index erasure_order on log.erasure (log_id, order_position);
comment on column log.erasure.again is
    'A derived fact that was withdrawn: the same id may be appended again when it is derived anew.';

-- One exception to "never changed": a body may become empty if the erasure is on record.
create or replace function log.refuse() returns trigger
language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name like 'event%' then
        if octet_length(new.body) = 0
            and (new.log_id, new.position, new.recorded_at, new.event_id, new.subject, new.type, new.leaf)
              = (old.log_id, old.position, old.recorded_at, old.event_id, old.subject, old.type, old.leaf)
            and exists (select from log.erasure x
                        where x.log_id = old.log_id and x.position = old.position)
        then
            return new;
        end if;
    end if;
    raise exception 'log.% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege',
              hint = 'Correct a fact by appending another one.';
end
$$;

create trigger refuse_change before update or delete on log.erasure
    for each row execute function log.refuse();
create trigger refuse_truncate before truncate on log.erasure
    for each statement execute function log.refuse();

-- Empties bodies by an order that stands later in the log; again it changes nothing. Returns how many.
create function log.erase(
    p_log_id integer, p_order_position bigint, p_again boolean, p_positions bigint[]
) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '10s'
set enable_seqscan = off
as $$
declare
    v_count integer;
begin
    if not exists (select from log.event e where e.log_id = p_log_id
                   and e.position = p_order_position and e.type = 'sightings.erased') then
        raise exception 'log.erase: no order of erasure stands at position %', p_order_position
            using errcode = 'invalid_parameter_value';
    end if;
    if exists (select from log.event e where e.log_id = p_log_id and e.position = any (p_positions)
               and e.type not like 'tag.%' and e.type not like 'alert.%') then
        raise exception 'log.erase: only sightings and what was derived from them can be erased'
            using errcode = 'invalid_parameter_value';
    end if;
    insert into log.erasure (log_id, position, order_position, again)
        select p_log_id, p, p_order_position, p_again from unnest(p_positions) p order by p
        on conflict do nothing;
    update log.event e set body = ''::bytea
        where e.log_id = p_log_id and e.position = any (p_positions) and octet_length(e.body) > 0;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- As in 0001, but a fact that was withdrawn is not known: it may come again.
create or replace function log.append(
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
            where e.event_id = any (p_ids) and e.log_id + 0 = p_log_id and e.position <= v_tail
                and not (octet_length(e.body) = 0 and exists (
                    select from log.erasure x
                    where x.log_id = e.log_id and x.position = e.position and x.again));
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

revoke all on function log.erase from public;
grant select on log.erasure to tagtrail_log_reader;
grant execute on function log.erase to tagtrail_log_writer;
