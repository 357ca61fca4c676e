{#
    The statements that grant a relation to the roles that its `grants` name. They see rows as far as they are readers.
#}
{% macro grant_to_others(relation, grants) %}

{% for name in grantees_of(grants) %}
grant select on {{ relation }} to "{{ name | replace('"', '""') }}";
{% endfor %}

{% endmacro %}
