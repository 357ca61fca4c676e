{#
    Refuse to build with a ledger of another version of dpe than these macros: an on-run-start hook.
#}
{% macro require_same_version() %}

{% if execute %}
    {% set query = "select substring(obj_description('dpe'::regnamespace, 'pg_namespace') from 'by dpe ([^ ]+) with') as version" %}
    {% set bootstrapped_by = run_query(query).rows[0]['version'] %}
    {% if bootstrapped_by != dpe_version() | trim %}
        {{ exceptions.raise_compiler_error(
            "the database was bootstrapped by dpe " ~ (bootstrapped_by or "of an earlier version") ~ ", and the project's macros are those of dpe "
            ~ dpe_version() ~ "; copy the macros of the newer version into the project, or run its `dpe bootstrap`, so that both are the same"
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
