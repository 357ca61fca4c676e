{#
    Fails with one row where what is built has lost, or gained, a larger share of rows than the published version before it
    had: `max_decrease: 0.1` is a tenth. Looks at the version that readers see, so it holds where nothing is published yet,
    and where dbt builds in place.
#}
{% test row_count_against_published(model, max_decrease=none, max_increase=none) %}

{% set suffix = schema_suffix() %}
{% set published = none %}
{% if execute and suffix and model.schema is defined and model.schema.endswith(suffix) %}
    {% set published = adapter.get_relation(model.database, model.schema[:-(suffix | length)], model.identifier) %}
{% endif %}

with

counts as (

    select
        (select count(*) from {{ model }}) as row_count,
        (select count(*) from {{ published or model }}) as published_row_count

)

select
    row_count,
    published_row_count
from counts
where
    false
    {%- if max_decrease is not none %}
    or row_count < published_row_count * (1 - {{ max_decrease }})
    {%- endif %}
    {%- if max_increase is not none %}
    or row_count > published_row_count * (1 + {{ max_increase }})
    {%- endif %}

{% endtest %}
