# Everything there is to do here. `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup demo up token env backup restore verify check resign rotate test screenshots dashboards fuzz chaos bench simulate portability smoke-compose lint format audit lock clean
# exec: a signal that make passes on has to reach the program itself, not a shell in between.
# One recipe after another: setup has to be over before what it sets up is used.
.NOTPARALLEL:

VENV := .venv/bin
PORT ?=
DATA_DIR ?=
DATA ?=
TARGET ?=
TASK ?=
ARGS ?=
NAME ?=
ROWS ?=
ROUNDS ?= 50
EXAMPLES ?= 10000
JOBS ?= 2
SEED ?=
export PYTHON

help: ## What can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Settings: PYTHON=python3.12, PORT=8000, DATA_DIR=folder; demo: DATA=table.csv TARGET=column TASK=regression"

setup: ## Make .venv, install what running needs, build the dashboard (Python 3.11 or later, no containers)
	@sh deploy/setup.sh local

demo: setup ## Train on a real table and take everything home: models, leaderboard, ZIP
	@exec $(VENV)/python -m deploy.demo $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(if $(PORT),--port $(PORT)) \
	    $(if $(DATA),--data "$(DATA)") $(if $(TARGET),--target "$(TARGET)") $(if $(TASK),--task $(TASK)) $(ARGS)

up: setup ## Run everything on this machine until Ctrl-C (PORT=, DATA_DIR=)
	@exec $(VENV)/python -m deploy.local $(if $(PORT),--port $(PORT)) $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(ARGS)

token: setup ## Sign a token with the secret of .env (EMAIL=you@example.org, or ROLE=service)
	@$(VENV)/python -m deploy.user_token $(EMAIL) $(if $(ROLE),--role $(ROLE))

env: ## Write .env with random secrets, for docker compose
	@$(or $(PYTHON),python3) -I deploy/env.py

# Where commands on what is stored run: on the local stack's data, or, with STACK=compose, in a container of the
# project that sees the servers, and the folder of the backups as whoever calls.
BACKUPS = $(abspath $(or $(TO),$(FROM),backups))
OPERATE = $(VENV)/python -m deploy.operate $(if $(DATA_DIR),--data-dir "$(DATA_DIR)")
COMPOSE_RUN = docker compose run --rm -T
NAMED = $(if $(NAME),--name $(NAME))
QUICKLY = $(if $(QUICK),--quick)
MOUNT = --user "$$(id -u):$$(id -g)" -v "$(BACKUPS):/backups"
ifeq ($(STACK),compose)
READY = true
VERIFY = $(COMPOSE_RUN) --no-deps $(MOUNT) migrate python -m shared.backup verify /backups $(NAMED)
BACKUP = $(COMPOSE_RUN) $(if $(2),$(MOUNT)) migrate python -m shared.backup $(1) $(if $(2),/backups) $(3)
RESIGN = $(COMPOSE_RUN) --no-deps packager python -m shared.resign
# rows and objects, then signatures: the worse of the two counts
CHECK = $(call BACKUP,check,,$(QUICKLY)); found=$$?; $(RESIGN) --check || found=$$?; exit $$found
else
READY = test -x $(VENV)/python || sh deploy/setup.sh local
VERIFY = $(VENV)/python -m shared.backup verify "$(BACKUPS)" $(NAMED)
BACKUP = $(OPERATE) backup $(1) $(if $(2),"$(BACKUPS)") $(3)
CHECK = $(OPERATE) check $(QUICKLY)
RESIGN = $(OPERATE) resign
endif

backup: ## Back up Postgres and the buckets together (TO=backups, KEEP=7; STACK=compose)
	@$(READY)
	@mkdir -p "$(BACKUPS)"
	@$(call BACKUP,take,folder,$(if $(KEEP),--keep $(KEEP)))

restore: ## Put a backup into an empty stack (FROM=backups, NAME= for another than the latest; STACK=compose)
	@$(READY)
	@$(call BACKUP,restore,folder,$(NAMED))

verify: ## Read a backup and compare every digest; needs no server (FROM=backups, NAME=; STACK=compose)
	@$(READY)
	@$(VERIFY)

check: ## Compare rows with objects, sizes, digests and signatures (QUICK=1 reads no object; STACK=compose)
	@$(READY)
	@$(CHECK)

resign: ## Sign models with the first key of ARTIFACT_HMAC_KEYS that another has signed (STACK=compose)
	@$(READY)
	@$(RESIGN)

rotate: ## One step of changing a secret: SECRET=token or artifacts, STEP=add, use, then drop (STACK=compose)
	@$(or $(PYTHON),python3) -I deploy/rotate.py $(SECRET) $(STEP) \
	    --file "$(if $(filter compose,$(STACK)),$(or $(ENV_FILE),.env),$(or $(DATA_DIR),.trainyard)/secrets.json)"

test: ## Run the tests, on real servers (ARGS="-k name" for some; JOBS=0 in one process)
	@sh deploy/setup.sh dev
	@$(VENV)/python -I deploy/dashboard.py --tested
	@$(VENV)/python -m tests.web.chromium
	@$(VENV)/python -m tests.monitoring.programs
	@$(VENV)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

screenshots: ## Save pictures of every page, in both themes, at both widths, to screenshots/
	@sh deploy/setup.sh dev
	@$(VENV)/python -I deploy/dashboard.py --required
	@$(VENV)/python -m tests.web.chromium
	@exec $(VENV)/python -m tests.web.screenshots $(ARGS)

dashboards: ## Draw Grafana's dashboards with the figures of a real run, into docs/images (minutes)
	@sh deploy/setup.sh dev
	@$(VENV)/python -m tests.web.chromium
	@exec $(VENV)/python -m tests.monitoring.pictures $(or $(ARGS),docs/images)

fuzz: ## Send what nobody would: broken tables, odd requests (EXAMPLES=10000 of each)
	@sh deploy/setup.sh dev
	@FUZZ_EXAMPLES=$(EXAMPLES) $(VENV)/python -m pytest -s --timeout 0 tests/fuzz \
	    tests/e2e/test_bad_input.py::test_hostile_tables_end_in_words $(ARGS)

chaos: ## Break everything, many times (ROUNDS=50, SEED= repeats a run), and write docs/reliability.md
	@sh deploy/setup.sh dev
	@CHAOS_ROUNDS=$(ROUNDS) CHAOS_SEED=$(SEED) CHAOS_REPORT=1 $(VENV)/python -m pytest -s tests/chaos $(ARGS)

portability: ## Run the tests of store, database and queue on every server there is (NAME=storage), write docs/portability.md
	@sh deploy/setup.sh dev
	@exec $(VENV)/python -m tests.portability $(NAME)

# Handed on only where they are said: PEERS= is not the same as no PEERS (tests/bench/bench_models.py).
BENCH := BUDGET TABLES PEERS SEEDS AGAIN ONLY_REPORT RESULTS REPORT ROUNDS GB
bench: ## Measure against the anchors and write docs/benchmarks.md (NAME=status for one, ROWS=, ROUNDS=; NAME=transfers GB=5; NAME=models BUDGET=60)
	@sh deploy/setup.sh dev
	@exec env BENCH_ROWS=$(ROWS) $(foreach v,$(BENCH),$(if $(filter command line,$(origin $v)),BENCH_$v="$($v)")) \
	    $(VENV)/python -m tests.bench $(NAME)

simulate: ## Work out docs/scaling.md anew, or simulate a fleet (ARGS="--rate 0.5 --trainers 8 --slots 2 --fit 8")
	@sh deploy/setup.sh dev
	@exec $(VENV)/python -m tests.bench.scaling $(ARGS)

smoke-compose: ## Try docker-compose.yml for real: build, demo, scale, kill, update, down and up (ARGS=--report)
	@sh deploy/setup.sh dev
	@exec $(VENV)/python -m tests.compose $(ARGS)

lint: ## Style, types, who imports whom, the locks, the manifests of deploy/k8s
	@sh deploy/setup.sh dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo
	$(VENV)/python -m deploy.check_locks
	$(VENV)/python -m deploy.manifests
	$(VENV)/python -I deploy/dashboard.py --lint

format: ## Sort imports and lay the code out
	@sh deploy/setup.sh dev
	$(VENV)/ruff check --fix --select I,UP,F401 .
	$(VENV)/ruff format .
	$(VENV)/python -I deploy/dashboard.py --format

audit: ## Look every locked package up in the advisory databases; needs the network (SERVICE=osv or pypi)
	@test -x .venv-audit/bin/pip-audit || { $(or $(PYTHON),python3) -m venv .venv-audit && \
	    .venv-audit/bin/pip install -q --require-hashes -r requirements/audit.txt; }
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -s $(or $(SERVICE),osv) \
	    -r requirements/dev.txt -r requirements/audit.txt

LOCK := $(VENV)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
    --python-version 3.11 -c requirements/dev.txt
lock: ## Write requirements/*.txt anew from pyproject.toml
	@sh deploy/setup.sh dev
	@for group in dev local api trainer dask packager s3 web audit; do \
	    echo "requirements/$$group.txt"; \
	    $(LOCK) --group $$group -o requirements/$$group.txt || exit 1; \
	done

clean: ## Remove .venv, .bench, the built dashboard and caches; data (.trainyard) and demo-output stay
	rm -rf .venv .venv-audit .bench .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	rm -rf .prometheus tests/monitoring/viewer/node_modules tests/monitoring/viewer/dist
	rm -rf services/web/node_modules services/web/dist services/web/schema.json services/web/src/api/schema.ts screenshots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
