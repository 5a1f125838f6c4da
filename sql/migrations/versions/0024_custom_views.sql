-- Views of custom fields are made again, in the form that is fast for a month's records.
delete from cw_sync.custom_field_scan;
