{#
    The query of a generic test on the table that is being built, which `ref` cannot find yet.
#}
{% macro failing_rows_of(relation, test) %}

{% set metadata = test.test_metadata %}
{% set macros = context[metadata.namespace] if metadata.namespace else context %}
{% set arguments = {} %}
{% for name, value in metadata.kwargs.items() if name not in ['model', 'column_name'] %}
    {% do arguments.update({name: dpe.relation_named(value) if value is string else value}) %}
{% endfor %}
{% if test.column_name %}
    {% do arguments.update({'column_name': test.column_name}) %}
{% endif %}
{% set tested = '(select * from ' ~ relation ~ ' where ' ~ test.config.where ~ ') as tested' if test.config.where else relation %}
{{ return(macros['test_' ~ metadata.name](model=tested, **arguments)) }}

{% endmacro %}
