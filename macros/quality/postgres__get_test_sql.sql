{#
    Evaluate a test as dbt does, and also `warn_share` and `error_share` in its meta: it warns, or fails, if more than this share
    of the tested model's rows fail. `error_share: 0.01` is one percent. dbt's own warn_if and error_if compare the number of
    failing rows.
#}
{% macro postgres__get_test_sql(main_sql, fail_calc, warn_if, error_if, limit) %}

{% do dpe.refuse_code_in_sources([model.unique_id], locks=true) %}
{% set meta = config.get('meta') or {} %}
{% if meta.warn_share is not defined and meta.error_share is not defined %}
    {{ return(dpe.next_implementation('get_test_sql')(main_sql, fail_calc, warn_if, error_if, limit)) }}
{% endif %}

{% set tested = graph.nodes.get(model.attached_node) %}
{% if not tested %}
    {{ exceptions.raise_compiler_error(
        model.name ~ " (" ~ model.original_file_path ~ "): a share needs a test on a model, seed or snapshot, which this one is not; use warn_if and error_if"
    ) }}
{% endif %}
{% set relation = dpe.relation_of(tested) %}

with

failing as (

    {{ main_sql }}
    {{ "limit " ~ limit if limit is not none }}

),

counted as (

    select
        (select {{ fail_calc }} from failing) as failures,
        (select count(*) from {{ relation }}) as records

)

select
    coalesce(failures, 0) as failures,
    {% if meta.warn_share is defined %}failures > records * {{ meta.warn_share }}{% else %}failures {{ warn_if }}{% endif %} as should_warn,
    {% if meta.error_share is defined %}failures > records * {{ meta.error_share }}{% else %}failures {{ error_if }}{% endif %} as should_error
from counted

{% endmacro %}
