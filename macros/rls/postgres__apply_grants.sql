{#
    Protect what a materialization has built, before it commits: dbt calls this for every model, seed and snapshot. A table's hooks have
    run by then; the hooks of the others run later, and PostgreSQL checks their effects when dbt commits
    (dpe_cli/server/sql/protection.sql).

    Depends on the kind of the relation, not on the model's configuration: `dbt clone` creates views of tables.
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
        {{ dpe.quarantine(relation) }}
    {% elif materialized == 'table' and not relation.is_view %}
        select dpe.refuse_changes_of_hooks({{ dpe.regclass_of(relation) }}, {{ dpe.literal_of(model.unique_id) }});
    {% endif %}
    {{ dpe.restore_foreign_keys(relation) }}
    {{ dpe.apply_policies(relation, grant_config or {}) }}
{% endcall %}

{% endmacro %}
