{#
    Fails each row in which one of the columns is null. An empty text is a value: see accepted_length.
#}
{% test required_fields(model, columns) %}

select *
from {{ model }}
where num_nulls({% for column in columns %}{{ dpe.quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}) > 0

{% endtest %}
