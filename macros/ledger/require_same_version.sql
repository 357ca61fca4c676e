{#
    Refuse to build with a ledger of another version of dpe than these macros: an on-run-start hook.
#}
{% macro require_same_version() %}

{% if execute %}
    {% set query = "select substring(obj_description('dpe'::regnamespace, 'pg_namespace') from 'by dpe ([^ ]+) with') as version" %}
    {% set bootstrapped_by = dbt.run_query(query).rows[0]['version'] %}
    {% if bootstrapped_by != dpe.dpe_version() | trim %}
        {{ exceptions.raise_compiler_error(
            "the database was bootstrapped by dpe " ~ (bootstrapped_by or "of an earlier version") ~ ", and this is the dbt package of dpe "
            ~ (dpe.dpe_version() | trim) ~ "; if the package is the newer one, run `dpe bootstrap`, otherwise install dpe " ~ (bootstrapped_by or "of that version")
            ~ " and run `dpe dbt deps`"
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
