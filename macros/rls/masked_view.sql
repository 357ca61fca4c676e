{#
    What masked readers query in place of the relation that is being built.
#}
{% macro masked_view() %}
{{ return(this.incorporate(path={'identifier': this.identifier ~ '__masked'}, type='view')) }}
{% endmacro %}
