-- binds: sessions
-- locks: none; whoever applies events of a session has its aggregate
-- why one: all of them in one round trip
select session_id, user_id
from learning_sessions
where session_id = any($1)
