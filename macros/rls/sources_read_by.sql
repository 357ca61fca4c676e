{#
    Return the sources that a query of these nodes reads: those among them (`dbt source freshness` queries these), their own, and those of
    the views and ephemeral models that they use. A source that dpe loads counts, too: until its first extract, a relation of somebody else
    may have its name. dbt does not record what functions read.
#}
{% macro sources_read_by(unique_ids) %}

{% set sources = {} %}
{% set seen = {} %}
{% set left = unique_ids | list %}
{# A `for` sees what is added to its list meanwhile. #}
{% for unique_id in left if unique_id not in seen %}
    {% do seen.update({unique_id: true}) %}
    {% if unique_id in graph.sources %}
        {% do sources.update({unique_id: graph.sources[unique_id]}) %}
    {% endif %}
    {% set node = graph.nodes.get(unique_id) or (model if model is defined and model.unique_id == unique_id) %}
    {% for parent in (node.depends_on.nodes if node else []) %}
        {% if parent in graph.sources %}
            {% do sources.update({parent: graph.sources[parent]}) %}
        {% elif parent in graph.nodes and graph.nodes[parent].config.materialized in ['view', 'ephemeral'] %}
            {% do left.append(parent) %}
        {% endif %}
    {% endfor %}
{% endfor %}
{{ return(sources.values() | list) }}

{% endmacro %}
