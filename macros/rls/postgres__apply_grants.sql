{#
    Protect what a materialization has built, before it commits: dbt grants at this place for every model, seed and snapshot. Of a
    table, the hooks of its author have run by then; those of the others run later, and PostgreSQL looks at what they did when dbt
    commits (dpe_cli/server/sql/protection.sql).

    Decided by what the relation is, not by what the model is configured to be: `dbt clone` makes views of tables.
#}
{% macro postgres__apply_grants(relation, grant_config, should_revoke=True) %}

{% if model.resource_type == 'function' %}
    {{ return(dbt.default__apply_grants(relation, grant_config, should_revoke)) }}
{% endif %}

{% set materialized = config.get('materialized') %}
{% if relation.is_materialized_view %}
    {{ exceptions.raise_compiler_error(
        model.name ~ ": a materialized view cannot be protected by policies; make it a table or an incremental model"
    ) }}
{% endif %}
{% call statement('protection') %}
    {% if model.resource_type == 'model' and materialized != 'table' %}
        {{ quarantine(relation) }}
    {% elif materialized == 'table' and not relation.is_view %}
        select dpe.refuse_changes_of_hooks({{ regclass_of(relation) }}, '{{ model.unique_id }}');
    {% endif %}
    {{ restore_foreign_keys(relation) }}
    {{ apply_policies(relation, grant_config or {}) }}
{% endcall %}

{% endmacro %}
