{#
    The statements that move rows that break rules from the table that is being built into its quarantine. A row that breaks
    several rules has the ids of all of them.
#}
{% macro move_into_quarantine(relation, tests) %}

{% set quarantine = dpe.quarantine_of_this() %}

drop table if exists {{ quarantine }} cascade;
create table {{ quarantine }} (
    like {{ relation }},
    _rules text[] not null,
    _quarantined_at timestamptz not null default now()
);
{% set declaration = dpe.rls_declaration() %}
{{ dpe.protect_table(
    quarantine,
    declaration,
    model.unique_id,
    dpe.readers_of(model, declaration),
    keeps_rows_of_nobody=true,
    masked=dpe.masked_columns(model)
) }}
comment on table {{ quarantine }} is {{ dpe.literal_of(
    'Rows that are kept out of ' ~ this.identifier ~ ' because they break rules (_rules). They return once they are corrected.'
) }};

{% for test in tests %}
{{ dpe.check_quarantine_limit(relation, test) }}
{% endfor %}

with

failing as (

    {% for test in tests %}
    select
        candidate.ctid as row_id,
        {{ dpe.literal_of(test.config.meta.rule) }}::text as rule_id
    from {{ relation }} as candidate
    where {{ dpe.breaks(relation, test, 'candidate') }}
    {%- if not loop.last %}

    union all
    {% endif %}
    {% endfor %}

),

broken as (

    select
        row_id,
        array_agg(distinct rule_id order by rule_id) as rules
    from failing
    group by row_id

),

quarantined as (

    delete from {{ relation }} as candidate
    using broken
    where candidate.ctid = broken.row_id
    returning
        candidate.*,
        broken.rules

)

insert into {{ quarantine }}
select
    quarantined.*,
    now()
from quarantined;

{% endmacro %}
