{#
    Put a table under forced row-level security with the policies of its declaration, and grant it to its readers. Other policies and
    privileges are removed. Rows without a tenant are refused, except in a quarantine (`keeps_rows_of_nobody`). The columns in `masked`
    are hidden from masked readers. `node` is dbt's unique id of the table's node.
#}
{% macro protect_table(relation, declaration, node, readers=[], keeps_rows_of_nobody=false, masked=[], grants={}) %}

{% set system = dpe.rls_predicate(declaration, 'system') %}

{{ dpe.require_context() }}

alter table {{ relation }} enable row level security, force row level security;
select dpe.reset_protection({{ dpe.regclass_of(relation) }});

create policy dpe_system on {{ relation }} for all to dpe_transformer
using ({{ system }}) with check ({{ system }});

create policy dpe_admin on {{ relation }} for select to dpe_owner
using ({{ system }});
grant select on {{ relation }} to dpe_owner;

{% if not declaration.private %}
create policy dpe_reader on {{ relation }} for select to dpe_reader, dpe_masked_reader
using ({{ dpe.rls_predicate(declaration, 'reader', readers) }});
{% endif %}
{% if masked and not declaration.private %}
create policy dpe_mask on {{ relation }} as restrictive for select to dpe_reader
using ({{ dpe.rls_predicate(declaration, 'mask', readers) }});
{% endif %}
{{ dpe.grant_to_readers(relation, readers, masked) }}
{{ dpe.grant_to_others(relation, grants) }}

comment on policy dpe_system on {{ relation }} is {{ dpe.literal_of(dpe.describe_policies(declaration, masked, readers)) }};

{% for column in dpe.policy_columns(declaration) %}
{{ dpe.index_policy_column(relation, column) }}
{% endfor %}

{% if not keeps_rows_of_nobody %}
{% for column in dpe.tenant_columns(declaration) %}
{{ dpe.require_tenant(relation, column) }}
{{ dpe.refuse_empty_tenant(relation, column) }}
{% endfor %}
{% endif %}

{{ dpe.remember_protection(relation, node, dpe.describe_protection(declaration, readers, masked, grants)) }}

{% endmacro %}
