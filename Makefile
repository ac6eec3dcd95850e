# Thin over the go command: each target says what it runs.

MODULES := . local examples/shop aws aws/deploy aws/e2e
# Those of aws run against emulators, which take their time: they are not run a
# second time with the race detector, but for what runs in many goroutines.
RACED   := . local examples/shop
RACEDAWS := ./internal/handed ./internal/lambdarunner ./lambdahost
DATA    := shop.db
SEED    := examples/shop/testdata/online-retail-sample.csv
LINT    := .cache/bin/golangci-lint

# A workspace hides a forbidden import and a missing requirement.
export GOWORK := off
# Some machines set GOTOOLCHAIN=local; the modules name the toolchain that builds them.
export GOTOOLCHAIN := auto

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

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-aws race check fmt fmt-check build tidy deps lint bench graphiql graphiql-check clients emulators package

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the shop on a day of real sales, with its API and GraphiQL; ARGS='--addr 127.0.0.1:9000' and the like go to it
	@go build -C examples/shop -o ../../bin/dev ./cmd/dev
	@exec bin/dev run --data $(DATA) --seed $(SEED) --dev-users $(ARGS)

test: clients emulators ## run the tests of all modules, with crash tests, and on emulators of AWS
	@$(call each,go test -timeout 20m ./...)

test-fast: ## run the core's tests, in less than a minute
	@go test ./...

race: clients emulators ## run the tests with the race detector; of the AWS drivers those of hosts
	@$(call each,go test -race $(RACEFLAGS) ./...,$(RACED))
	@cd aws && go test -race $(RACEDAWS)

test-aws: emulators ## run the tests of the AWS drivers and the shop end to end, on emulators
	@$(call each,go test -timeout 20m ./...,aws aws/e2e)

# Cheap ones first; the tests are last because all else is quicker to mend.
CHECKS := fmt-check tidy build deps lint race

check: ## run all that CI holds a change to
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
	@$(call each,go mod tidy -diff)
	@cd tools && go mod tidy -diff

deps: ## hold the packages to the import rules of the deps_test.go files
	@set -e; for f in $(wildcard $(MODULES:%=%/deps_test.go)); do echo "-- $$f"; (cd $$(dirname $$f) && go test -count=1 -run '^TestImports$$' .); done

lint: $(LINT) ## run the linters of .golangci.yml
	@$(call each,$(CURDIR)/$(LINT) run --allow-parallel-runners ./...)

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
	@go run -C aws/deploy ./cmd/lambdazip -o ../../bin/lambda.zip ../../bin/bootstrap

emulators: ## install the emulators of AWS that the tests of aws run, into .cache/emulators
	@aws/internal/awstest/emulators/install .cache/emulators

.cache/graphiql/installed: $(PAGE)/package.json $(PAGE)/package-lock.json $(PAGE)/.npmrc
.cache/clients/installed: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json $(CLIENTS)/.npmrc
.cache/%/installed:
	@mkdir -p $(@D)
	@cp $^ $(@D)
	@cd $(@D) && npm ci
	@touch $@
