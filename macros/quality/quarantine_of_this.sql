{#
    Return the relation for the rows that rules keep out of the table that is being built.
#}
{% macro quarantine_of_this() %}
{{ return(this.incorporate(path={'identifier': dpe.companion_name(this.identifier, '__quarantine')}, type='table')) }}
{% endmacro %}
