# Thin over the go command: each target says what it runs.

# In the order in which they are tested: what is quick or fails often is first.
MODULES := tools . local examples/shop aws/deploy aws aws/e2e
# The race detector runs on these, and on the packages of aws that run many
# goroutines of their own. Other tests of aws wait for emulators most of the time.
RACED    := . local examples/shop
RACEDAWS := internal/inflight internal/lambdarunner lambdahost
# The older of the two Go releases that the core supports.
OLDER   := go1.26.8
TIMEOUT := 20m
DATA    := shop.db
SEED    := examples/shop/testdata/online-retail-sample.csv
LINT    := .cache/bin/golangci-lint
GOTEST  := .cache/bin/gotest

# A workspace hides a forbidden import and a missing requirement.
export GOWORK := off
# Some machines set GOTOOLCHAIN=local; the modules name the toolchain that builds them.
export GOTOOLCHAIN := auto
# tools/setup installs Node.js here where Debian's is too old.
export PATH := $(CURDIR)/.cache/node/node_modules/.bin:$(PATH)

# A cache of its own for each clone: findings carry paths, and the exceptions of
# .golangci.yml go by path.
export GOLANGCI_LINT_CACHE := $(CURDIR)/.cache/golangci-lint

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

# The detector's pointer checks inside the translated C of SQLite double the time
# and look at nothing of ours.
RACEFLAGS := -gcflags=modernc.org/...=-d=checkptr=0

# each runs a command in every module.
each = set -e; for m in $(or $(2),$(MODULES)); do echo "-- $$m: $(strip $(1))"; (cd $$m && $(1)); done

# tests runs "go test" with the arguments $(1); $(2) is what the tests need beside Go.
tests = without=$$(tools/setup $(if $(INSTALL),--install) $(2)); \
	go build -C tools -o ../$(GOTEST) ./cmd/gotest; \
	REVENTLESS_WITHOUT="$$without" $(GOTEST) $(1)
plain = '$(1) -timeout $(TIMEOUT) ./...'
raced = '$(1) -race $(RACEFLAGS) -timeout $(TIMEOUT) ./...'
RUNS  = $(foreach m,$(MODULES),$(call plain,$m))
ifdef RACE
# No test runs twice: the packages of aws that the detector runs on are taken out of
# those that run without it.
RUNS  = $(call plain,tools) $(foreach m,$(RACED),$(call raced,$m)) $(call plain,aws/deploy) \
	'aws -race -timeout $(TIMEOUT) $(RACEDAWS:%=./%)' \
	"aws -timeout $(TIMEOUT) $$(go list -C aws ./... | sed 's,.*/reventless/aws,.,' | grep -vxE '\./($(subst $() ,|,$(RACEDAWS)))' | xargs)" \
	$(call plain,aws/e2e)
endif

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-long test-aws test-older simulate race check fmt fmt-check build tidy deps lint packages packages-check vuln words deadcode bench graphiql graphiql-check clients emulators package

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the shop on a day of real sales, with its API and GraphiQL; ARGS='--addr 127.0.0.1:9000' and the like go to it
	@go build -C examples/shop -o ../../bin/dev ./cmd/dev
	@exec bin/dev run --data $(DATA) --seed $(SEED) --dev-users $(ARGS)

test: ## run all tests; INSTALL=1 installs what they need; RACE=1 uses the race detector where many goroutines run
	@$(call tests,$(RUNS),chromium node python3 strace dynamodb-local ministack $(if $(RACE),cc))

test-fast: ## run the core's tests, in less than a minute; they need nothing but Go
	@go test ./...

test-long: ## run all tests in their long form: more seeds, more random operations
	@REVENTLESS_LONG=1 $(MAKE) --no-print-directory test TIMEOUT=90m

test-older: ## run the core's tests with the older Go release that it supports
	@GOTOOLCHAIN=$(OLDER) go test ./...

test-aws: ## run the tests of the AWS drivers and the shop end to end, on emulators
	@$(call tests,$(foreach m,aws aws/e2e,$(call plain,$m)),python3 dynamodb-local ministack)

simulate: ## run the engine with a virtual clock under 1,000 plans of faults
	@go test -count 1 ./internal/host -run '^TestWholeEngineUnderPlansOfFaults$$' -v -plans 1000 | grep -vE '^ *(===|--- PASS)'

race: ## run the tests of the core, local and the shop with the race detector
	@$(call tests,$(foreach m,$(RACED),$(call raced,$m)),cc chromium node python3 strace)

# Cheap ones first.
CHECKS := fmt-check words tidy packages-check build deps deadcode lint vuln

check: ## run all that CI holds a change to beside the tests
	@set -e; for c in $(CHECKS); do \
		echo "== $$c"; SECONDS=0; $(MAKE) --no-print-directory $$c; echo "== $$c took $$SECONDS s"; \
	done

fmt: $(LINT) ## format all files
	@$(LINT) fmt

fmt-check: $(LINT) ## fail if a file is not formatted
	@$(LINT) fmt --diff

build: ## build and vet every module by itself
	@$(call each,go build ./... && go vet ./...)

tidy: ## fail if a go.mod or go.sum is not tidy
	@$(call each,go mod tidy -diff,$(MODULES) tools/vuln)

deps: ## hold the packages to the import rules of the deps_test.go files
	@set -e; for f in $(wildcard $(MODULES:%=%/deps_test.go)); do echo "-- $$f"; (cd $$(dirname $$f) && go test -count=1 -run '^TestImports$$' .); done

lint: $(LINT) ## run the linters of .golangci.yml
	@$(call each,$(CURDIR)/$(LINT) run --allow-parallel-runners ./...)

# What is linked into the shop's programs, as they are deployed on linux/amd64.
PROGRAMS := lambda dev deploy
as_linked = cd examples/shop && export GOOS=linux GOARCH=amd64 CGO_ENABLED=0 GOFLAGS=-tags=lambda.norpc LC_ALL=C
linked   = go list -deps -f '{{if not .Standard}}{{.ImportPath}}{{end}}' ./cmd/$$p | sort
notices  = go build -o .cache/bin/notices ./cmd/notices

packages: ## rewrite the lists of the packages that the shop's programs link, and the licences in cmd/dev/NOTICES
	@$(notices); $(as_linked); for p in $(PROGRAMS); do $(linked) >cmd/$$p/packages.txt; done; ../../.cache/bin/notices -o cmd/dev/NOTICES ./cmd/dev

packages-check: ## fail if "make packages" would change a file: a new package in a program is to be seen in review
	@$(notices); $(as_linked); for p in $(PROGRAMS); do diff -u cmd/$$p/packages.txt <($(linked)); done; ../../.cache/bin/notices -o ../../.cache/NOTICES ./cmd/dev; diff -u cmd/dev/NOTICES ../../.cache/NOTICES

# The database is taken from the module golang.org/x/vulndb where its host cannot be
# reached: that version is as old as tools/vuln/go.mod.
VULNDB := .cache/vulndb

vuln: ## fail if a known vulnerability can be reached
	@go build -C tools/vuln -o ../../.cache/bin/govulncheck golang.org/x/vuln/cmd/govulncheck
	@db=; if ! curl -fsS -m 10 -o /dev/null https://vuln.go.dev/index/db.json 2>/dev/null; then \
		$(MAKE) --no-print-directory $(VULNDB)/index/db.json; db="-db file://$(CURDIR)/$(VULNDB)"; fi; \
	$(call each,$(CURDIR)/.cache/bin/govulncheck $$db ./...,$(RACED) aws aws/deploy)

$(VULNDB)/index/db.json: tools/vuln/go.sum
	@go mod download -C tools/vuln golang.org/x/vulndb
	@cd tools/vuln && go run golang.org/x/vulndb/cmd/indexdb -vulns "$$(go list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv" -out $(CURDIR)/$(VULNDB)
	@touch $@

# The entry points are all programs and all tests of all modules together.
deadcode: ## fail if a function that no program and no test reaches is not in tools/deadcode.txt
	@go build -C tools -o ../.cache/bin/deadcode golang.org/x/tools/cmd/deadcode
	@diff -u <(grep -v '^#' tools/deadcode.txt | sed '/^$$/d' | LC_ALL=C sort) <(GOWORK=$(CURDIR)/go.work .cache/bin/deadcode -test -filter '^github.com/reventless-go/' \
		$(patsubst %,./%/...,$(filter-out tools,$(MODULES))) | sed -E 's/:[0-9]+:[0-9]+: unreachable func://' | LC_ALL=C sort)

words: ## fail if a text has a word that docs/words.txt replaces
	@go run -C tools ./cmd/words ..

bench: emulators ## run the benchmarks of all modules and print the ratios, and what AWS costs, again at the end
	@mkdir -p .cache
	@{ $(call each,go test -run '^$$' -bench . ./...,. local examples/shop) && cd aws/e2e && go test -run '^$$' -bench . -benchtime 1x ./...; } | grep -vE 'no test files|^PASS$$' | tee .cache/bench.txt
	@echo '-- a million commands of the shop on AWS'; awk '/^BenchmarkCost/ { for (i = 5; i < NF; i += 2) printf "%12s %s\n", $$i, $$(i + 1) }' .cache/bench.txt
	@echo '-- ratios'; awk '/^pkg:/ { pkg = $$2 } /-of-/ { line = $$1; for (i = 2; i <= NF; i++) if ($$i ~ /-of-/) line = line "  " $$(i-1) " " $$i; print line "  (" pkg ")" }' .cache/bench.txt

# The first build compiles all linters, which takes some minutes; Go's build
# cache has them from then on, for other clones too.
$(LINT): tools/go.mod tools/go.sum
	@echo "building golangci-lint (once; some minutes when nothing is cached)"
	@go build -C tools -o ../$(LINT) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $(LINT)

# npm keeps node_modules beside package.json. Both are copies under .cache, so that
# no tool that walks the source folders meets them.
PAGE    := local/graphiql/page
CLIENTS := examples/shop/cmd/dev/clients

graphiql: .cache/graphiql/installed ## build the GraphiQL page from local/graphiql/page with npm's packages, into local/graphiql/dist
	@cp -R $(PAGE)/. .cache/graphiql
	@cd .cache/graphiql && node build.mjs $(CURDIR)/local/graphiql/dist

graphiql-check: .cache/graphiql/installed ## fail if the built GraphiQL page is not what its sources give
	@cp -R $(PAGE)/. .cache/graphiql
	@cd .cache/graphiql && node build.mjs dist
	@diff -rq .cache/graphiql/dist local/graphiql/dist

clients: .cache/clients/installed ## install the JavaScript clients that the tests of the API run, into .cache/clients
	@cp $(CLIENTS)/*.mjs .cache/clients

# Settings of a machine would give another program.
package: ## build the shop's program for Lambda into bin/lambda.zip, byte for byte the same each time
	@GOOS=linux GOARCH=arm64 GOARM64=v8.0 GOFLAGS=-mod=readonly CGO_ENABLED=0 go build -C examples/shop -trimpath -buildvcs=false -tags lambda.norpc -ldflags "-s -w" -o ../../bin/bootstrap ./cmd/lambda
	@$(notices); (cd examples/shop && GOOS=linux GOARCH=arm64 CGO_ENABLED=0 GOFLAGS=-tags=lambda.norpc ../../.cache/bin/notices -o ../../bin/NOTICES ./cmd/lambda)
	@go run -C aws/deploy ./cmd/lambdazip -o ../../bin/lambda.zip ../../bin/bootstrap ../../bin/NOTICES

emulators: ## install the emulators of AWS that tests use, into .cache/emulators
	@aws/internal/awstest/emulators/install .cache/emulators

.cache/graphiql/installed: $(PAGE)/package.json $(PAGE)/package-lock.json $(PAGE)/.npmrc
.cache/clients/installed: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json $(CLIENTS)/.npmrc
.cache/%/installed:
	@mkdir -p $(@D)
	@cp $^ $(@D)
	@cd $(@D) && npm ci
	@touch $@
