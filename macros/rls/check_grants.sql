{#
    Refuse grants to dpe's own roles, of more than SELECT (TRUNCATE and REFERENCES ignore policies), and of masked columns to masked readers.
#}
{% macro check_grants(grants, masked) %}

{% set where = model.name ~ " (" ~ model.original_file_path ~ "): grants " %}
{% set own = ['dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_auditor', 'dpe_tenant', 'public'] %}
{% for privilege in grants if privilege | lower | trim != 'select' %}
    {{ exceptions.raise_compiler_error(where ~ "names the privilege " ~ privilege ~ "; only select is allowed") }}
{% endfor %}
{% for name in dpe.grantees_of(grants) if name in own %}
    {{ exceptions.raise_compiler_error(where ~ "names " ~ name ~ "; declare in meta.rls who may see it, and name other roles in grants") }}
{% endfor %}
{% if masked %}
    {% for name in dpe.grantees_of(grants) %}
        {% set found = dbt.run_query(
            "select 1 from pg_roles where rolname = '" ~ name | replace("'", "''") ~ "' and pg_has_role(oid, 'dpe_masked_reader', 'member')"
        ) %}
        {% if found | length %}
            {{ exceptions.raise_compiler_error(where ~ "names " ~ name ~ ", a masked reader, which would see masked columns; omit it") }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
