{#
    Return what dpe.remember_rules stores of a test's result. `query` is set if there may be failing rows, also if a test passed
    only because they were below its thresholds, which dbt does not report.
#}
{% macro rule_result(result, rows_built, keys) %}

{% set node = result.node %}
{% set config = node.config %}
{% set meta = config.meta or {} %}
{% set tested = [node.attached_node] if node.attached_node else node.depends_on.nodes %}
{% set names = [] %}
{% for one in tested %}
    {% do names.append(one.split('.', 2) | last) %}
{% endfor %}
{% set parent = graph.nodes.get(tested[0]) or graph.sources.get(tested[0]) if tested | length == 1 else none %}
{% set severity = config.severity | lower %}
{% set status = result.status if result.status in ['pass', 'warn', 'fail'] else 'error' %}
{% set threshold = config.error_if if severity == 'error' and config.error_if | trim == '!= 0' else config.warn_if %}
{% set has_share = meta.warn_share is defined or meta.error_share is defined %}
{% set is_clean = status == 'pass' and threshold | trim == '!= 0' and not has_share %}

{% set keep_rows = meta.get('keep_rows', var('dpe_keep_rows', 100)) %}
{# YAML has infinity, which is not a whole number. #}
{% if not (keep_rows is integer or keep_rows is string or (keep_rows is float and -1e9 < keep_rows < 1e9)) %}
    {% set keep_rows = 0 %}
{% endif %}
{% set key_columns = [] %}
{% for column in keys.get(tested[0], []) if tested | length == 1 %}
    {% do key_columns.append(dpe.stored_text(column)) %}
{% endfor %}

{{ return({
    'rule': dpe.stored_text(meta.get('rule'), most=500),
    'dimension': dpe.stored_text(meta.get('dimension'), most=500),
    'test_id': node.unique_id,
    'test': node.name,
    'model': names | join(', ') or none,
    'relation': parent.relation_name if parent else none,
    'severity': severity,
    'status': status,
    'failures': none if status == 'error' else result.failures,
    'records': rows_built.get(tested[0]) if tested | length == 1 else none,
    'warn_if': dpe.stored_text(config.warn_if),
    'error_if': dpe.stored_text(config.error_if),
    'fail_calc': dpe.stored_text(config.fail_calc),
    'query': none if is_clean or status == 'error' else node.compiled_code,
    'duration_seconds': result.execution_time,
    'keep_rows': [[keep_rows | int, 0] | max, 1000000] | min,
    'key_columns': key_columns,
}) }}

{% endmacro %}
