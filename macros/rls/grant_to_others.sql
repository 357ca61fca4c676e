{#
    The statements that grant a relation to the roles in its `grants`. Policies show them rows only if they are readers.
#}
{% macro grant_to_others(relation, grants) %}

{% for name in dpe.grantees_of(grants) %}
grant select on {{ relation }} to "{{ name | replace('"', '""') }}";
{% endfor %}

{% endmacro %}
