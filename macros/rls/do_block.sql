{#
    Run the block of PL/pgSQL that is called with this. It is a literal: names of relations and columns may hold any delimiter of a
    dollar-quoted text.
#}
{% macro do_block() %}

do {{ dpe.literal_of(caller()) }};

{% endmacro %}
