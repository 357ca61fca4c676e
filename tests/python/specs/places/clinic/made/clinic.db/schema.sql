create table patients (patient_no integer, clinic text, given_name text, family_name text, birth_date text, email text, phone text, postcode text, gp_practice text);
create table visits (visit_id text, clinic text, patient_no integer, arrived_at text, seen_at text, wait_minutes integer, triage integer, diagnosis_code text, left_unseen integer);
create table lab_results (result_id integer, visit_id text, clinic text, test_code text, result, taken_at text, reported_at text);
create table appointments (appointment_id text, clinic text, patient_no integer, booked_on text, due_at text, kind text, length_minutes integer, outcome text);
create table doses (dose_id integer, clinic text, patient_no integer, vaccine text, lot text, given_on text, dose_ml real);
