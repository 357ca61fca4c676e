{#
    The view that masked readers query instead of the relation that is being built.
#}
{% macro masked_view() %}
{{ return(this.incorporate(path={'identifier': dpe.companion_name(this.identifier, '__masked')}, type='view')) }}
{% endmacro %}
