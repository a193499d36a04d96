CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE tasks (
	id INTEGER NOT NULL, 
	plane_id VARCHAR(36), 
	plane_project_id VARCHAR(36), 
	repo VARCHAR(201), 
	branch VARCHAR(100) DEFAULT '' NOT NULL, 
	base_branch VARCHAR(100) DEFAULT '' NOT NULL, 
	stage VARCHAR(20) DEFAULT 'created' NOT NULL, 
	agent_running BOOLEAN DEFAULT 0 NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	"key" VARCHAR(60), 
	title TEXT DEFAULT '' NOT NULL, 
	brief TEXT DEFAULT '' NOT NULL, 
	role VARCHAR(20), 
	seen_created BOOLEAN DEFAULT 0 NOT NULL, 
	retry_after INTEGER DEFAULT 0 NOT NULL, 
	head_sha VARCHAR(64), 
	waiting TEXT DEFAULT '[]' NOT NULL, 
	decided TEXT, switches TEXT, returns TEXT, revision INTEGER DEFAULT 0 NOT NULL, order_key VARCHAR(255), 
	PRIMARY KEY (id), 
	UNIQUE ("key"), 
	UNIQUE (plane_id)
);
CREATE INDEX tasks_head ON tasks (head_sha) WHERE head_sha IS NOT NULL;
CREATE INDEX tasks_open ON tasks (created_at DESC, id DESC) WHERE stage != 'done';
CREATE TABLE watermarks (
	project_id VARCHAR(36) NOT NULL, 
	since DATETIME NOT NULL, 
	seen_until DATETIME NOT NULL, 
	PRIMARY KEY (project_id)
);
CREATE TABLE agent_runs (
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	agent VARCHAR(20) NOT NULL, 
	started_at DATETIME, 
	finished_at DATETIME, 
	exit_code INTEGER, 
	output_path TEXT, 
	stage VARCHAR(20) NOT NULL, 
	attempt INTEGER NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	intended_at DATETIME NOT NULL, 
	session_id VARCHAR(36) NOT NULL, 
	base_sha VARCHAR(64) NOT NULL, 
	head_sha VARCHAR(64), 
	outcome VARCHAR(20), 
	reason VARCHAR(60) DEFAULT '' NOT NULL, 
	detail TEXT DEFAULT '' NOT NULL, 
	turns INTEGER DEFAULT 0 NOT NULL, 
	input_tokens INTEGER DEFAULT 0 NOT NULL, 
	output_tokens INTEGER DEFAULT 0 NOT NULL, 
	cost_usd FLOAT DEFAULT 0 NOT NULL, 
	denials TEXT DEFAULT '[]' NOT NULL, 
	cli_version VARCHAR(60) DEFAULT '' NOT NULL, 
	model VARCHAR(100) DEFAULT '' NOT NULL, 
	sandbox VARCHAR(40) DEFAULT 'none' NOT NULL, 
	prompt_digest VARCHAR(64), feedback TEXT, verdict VARCHAR(20), report TEXT, last_activity_at DATETIME, resets_at DATETIME, resumes INTEGER, admitted_at DATETIME, waits_for TEXT, 
	PRIMARY KEY (id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id), 
	UNIQUE (session_id), 
	CONSTRAINT agent_runs_attempt UNIQUE (task_id, stage, attempt)
);
CREATE UNIQUE INDEX agent_runs_one_open ON agent_runs (task_id) WHERE state != 'ended';
CREATE TABLE approvals (
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	gate VARCHAR(10) NOT NULL, 
	comment_id VARCHAR(100) NOT NULL, 
	person VARCHAR(100) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	approved_at DATETIME NOT NULL, position INTEGER DEFAULT 0 NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id), 
	UNIQUE (comment_id)
);
CREATE TABLE decisions (
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	decided_at DATETIME NOT NULL, 
	facts TEXT NOT NULL, 
	verdicts TEXT NOT NULL, 
	decision TEXT NOT NULL, 
	config_digest VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX decisions_task ON decisions (task_id, id);
CREATE TABLE effects (
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	"key" VARCHAR(200) NOT NULL, 
	kind VARCHAR(40) NOT NULL, 
	arguments TEXT DEFAULT '{}' NOT NULL, 
	created_at DATETIME NOT NULL, 
	done_at DATETIME, error TEXT DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id), 
	UNIQUE ("key")
);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	timestamp DATETIME NOT NULL, 
	source VARCHAR(20) NOT NULL, 
	event_type VARCHAR(80) NOT NULL, 
	action VARCHAR(80) DEFAULT '' NOT NULL, 
	payload TEXT NOT NULL, 
	processed INTEGER DEFAULT 0 NOT NULL, 
	delivery_id VARCHAR(100) DEFAULT '' NOT NULL, 
	body_sha256 VARCHAR(64) NOT NULL, 
	event_id VARCHAR(100), 
	task_id INTEGER, 
	headers TEXT DEFAULT '[]' NOT NULL, 
	ignored TEXT, 
	flag VARCHAR(40), 
	repeats INTEGER DEFAULT 0 NOT NULL, 
	last_repeat_at DATETIME, 
	PRIMARY KEY (id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id), 
	CONSTRAINT events_body UNIQUE (source, body_sha256)
);
CREATE INDEX events_delivery ON events (source, delivery_id);
CREATE UNIQUE INDEX events_event_id ON events (source, event_id) WHERE event_id IS NOT NULL;
CREATE INDEX events_task ON events (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX events_unprocessed ON events (task_id) WHERE processed = 0;
CREATE TABLE observations (
	task_id INTEGER NOT NULL, 
	facts TEXT NOT NULL, 
	observed_at DATETIME NOT NULL, 
	PRIMARY KEY (task_id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX effects_due ON effects (task_id) WHERE done_at IS NULL;
CREATE INDEX approvals_task ON approvals (task_id);
CREATE INDEX tasks_branch ON tasks (branch, repo);
CREATE INDEX agent_runs_admitted ON agent_runs (admitted_at);
CREATE TABLE pauses (
	kind VARCHAR(20) NOT NULL, 
	since DATETIME NOT NULL, 
	until DATETIME, 
	guesses INTEGER DEFAULT 0 NOT NULL, 
	PRIMARY KEY (kind)
);
CREATE TABLE tokens (
	id INTEGER NOT NULL, 
	name VARCHAR(60) NOT NULL, 
	scope VARCHAR(10) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	created_at DATETIME NOT NULL, 
	last_used_on DATE, 
	revoked_at DATETIME, login VARCHAR(255) DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (sha256)
);
CREATE UNIQUE INDEX tokens_name ON tokens (name) WHERE revoked_at IS NULL;
CREATE TABLE ended_sessions (
	session VARCHAR(64) NOT NULL, 
	until DATETIME NOT NULL, 
	PRIMARY KEY (session)
);
CREATE INDEX ended_sessions_until ON ended_sessions (until);
CREATE INDEX tasks_revision ON tasks (revision);
CREATE INDEX events_type ON events (event_type);
CREATE INDEX events_flagged ON events (flag) WHERE flag IS NOT NULL;
CREATE INDEX agent_runs_outcome ON agent_runs (outcome);
CREATE TABLE stays (
	id INTEGER NOT NULL, 
	task_id INTEGER NOT NULL, 
	stage VARCHAR(20) NOT NULL, 
	entered_at DATETIME NOT NULL, 
	left_at DATETIME NOT NULL, 
	seconds INTEGER NOT NULL, 
	worked_s INTEGER NOT NULL, 
	cause VARCHAR(40) DEFAULT '' NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(task_id) REFERENCES tasks (id)
);
CREATE INDEX stays_task ON stays (task_id, left_at);
CREATE INDEX stays_stage ON stays (stage, left_at, seconds, worked_s);
CREATE INDEX stays_sent_back ON stays (left_at, cause) WHERE cause != '';
CREATE TABLE spending (
	day VARCHAR(10) NOT NULL, 
	role VARCHAR(20) NOT NULL, 
	project VARCHAR(201) NOT NULL, 
	outcome VARCHAR(20) NOT NULL, 
	runs INTEGER NOT NULL, 
	started INTEGER NOT NULL, 
	turns INTEGER NOT NULL, 
	input_tokens INTEGER NOT NULL, 
	output_tokens INTEGER NOT NULL, 
	cost_usd FLOAT NOT NULL, 
	PRIMARY KEY (day, role, project, outcome)
);
CREATE INDEX tasks_stage ON tasks (stage, updated_at);
CREATE INDEX tasks_needs ON tasks (updated_at, id) WHERE stage != 'done' AND instr(replace(replace(replace(replace(replace(waiting, '{"code":"dispatch_paused","params":[],"evidence":[],"who":"operator",', ''), '"who":"agent"', ''), '"who":"ci"', ''), '"who":"orchestrator"', ''), '"who":""', ''), '"who":"') > 0;
CREATE UNIQUE INDEX tasks_order_key ON tasks (order_key) WHERE order_key IS NOT NULL;
CREATE INDEX agent_runs_finished ON agent_runs (finished_at, cost_usd);
