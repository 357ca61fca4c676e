{#
    Protect the relation that is being built, as its `meta.rls` declares. A post-hook of every model, seed and snapshot:
    dbt runs it before it commits what it built, so that no session ever sees the relation without its policies.

    A model in marts that declares nothing, and a materialized view, are refused.
#}
{% macro apply_policies() %}

{% if execute %}
    {% set declaration = rls_declaration() %}
    {% if config.get('materialized') == 'view' %}
        {{ protect_view(this, declaration) }}
    {% elif config.get('materialized') == 'materialized_view' %}
        {{ exceptions.raise_compiler_error(
            model.name ~ ": a materialized view cannot be protected by policies; make it a table or an incremental model"
        ) }}
    {% else %}
        {{ protect_table(this, declaration) }}
    {% endif %}
{% endif %}

{% endmacro %}
