{#
    The version of dpe that these macros belong to. They work only with a ledger and a command line of the same version, because each
    calls the others' functions.
#}
{% macro dpe_version() %}

{{ return('0.1.0') }}

{% endmacro %}
