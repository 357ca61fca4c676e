{#
    Return whether a relation is published to some readers only, not to all: those in both of dpe's roles. No reader is in another one.
#}
{% macro is_published_to_some(readers) %}
{{ return(readers | length > 0 and not ('dpe_reader' in readers and 'dpe_masked_reader' in readers)) }}
{% endmacro %}
