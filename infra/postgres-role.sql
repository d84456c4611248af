-- Run once by the image's entrypoint, on an empty volume, as the superuser in the new database.
-- The services sign in as a role that owns the database and may create roles (their migrations make
-- one per service), but is no superuser.
\set password `cat /run/secrets/database_password`
CREATE ROLE tagtrail LOGIN CREATEROLE PASSWORD :'password';
GRANT pg_monitor TO tagtrail;
ALTER DATABASE tagtrail OWNER TO tagtrail;
REVOKE CONNECT, TEMPORARY ON DATABASE tagtrail FROM PUBLIC;
