# fairlead. `make help` lists what can be made.
#
# One makefile, no recursion: each variant (release, asan, tsan) is one use of the
# template at the end, with all its files under build/VARIANT.

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: all run test test-long sim soak mutants programs tests notes install dist deb fuzz format tidy analyse cost clean help FORCE
.PHONY: bench bench-quick bench-compare bench-concurrency bench-micro
MAKEFLAGS += --no-builtin-rules

VARIANT := release
VARIANTS := release asan tsan
PREFIX := /usr/local
datadir := $(PREFIX)/share
docdir := $(datadir)/doc/fairlead
unitdir := $(PREFIX)/lib/systemd/system

ifeq ($(origin CC),default)
CC := gcc
endif
$(foreach v,$(VARIANTS),$(eval $(v)_cc := $$(CC)))
warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	    -Wpointer-arith -Wwrite-strings $(if $(filter 1,$(WERROR)),-Werror)
base_flags := -std=gnu11 -D_GNU_SOURCE -g -pthread $(if $(filter no,$(STUDY)),-DFAIRLEAD_WITHOUT_STUDY)
# What a compiler or C library does not know is left out; tests/real/hardened.py reads the
# rest back from the program.
understood = $(shell $(CC) -O2 -Werror $1 -include stdio.h -x c -c -o /dev/null /dev/null \
		2>/dev/null && echo '$1')
fortify = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE
hardening := -fPIE -fstack-protector-strong \
	     $(or $(call understood,$(fortify)=3),$(call understood,$(fortify)=2)) \
	     $(call understood,-fstack-clash-protection) \
	     $(or $(call understood,-fcf-protection=full),\
	     $(call understood,-mbranch-protection=standard))
hardening_link := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code
# Across files, for the two programs only: tests link the same objects as ever.
lto := $(call understood,-flto -ffat-lto-objects)
release_flags := -O3 $(hardening) $(lto)
release_link := $(if $(lto),-flto=auto,)
asan_flags := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=address,undefined \
	      -fno-sanitize-recover=undefined -DFAIRLEAD_POISON -DFAIRLEAD_CHECK
tsan_flags := -O1 -fPIE -fno-omit-frame-pointer -fsanitize=thread -DFAIRLEAD_CHECK
# Without assertions; only for the comparison of bench/privileges.
unchecked_flags := $(release_flags) -DFAIRLEAD_UNCHECKED
unchecked_link = $(release_link)
unchecked_cc = $(release_cc)
# An empty slice may be NULL, and NULL + 0 is an overflow to clang (not to C2y).
fuzz_flags := $(asan_flags) -fsanitize=fuzzer-no-link -fno-sanitize=pointer-overflow
fuzz_cc := clang-14
fuzz_engine := -fsanitize=fuzzer

# Every folder of src but lab is a layer; tests/tidy/layers knows who may include whom.
layer_src := $(filter-out src/lab/% $(if $(filter no,$(STUDY)),src/study/%),$(wildcard src/*/*.c src/*/*/*.c))
main_src := $(wildcard src/main.c)
lab_src := $(wildcard src/lab/*.c)
testlib_src := $(wildcard tests/lib/*.c)
contract_src := $(wildcard tests/contract/*.c)
# Each of these is one program.
single_src := $(wildcard $(patsubst %,tests/%/*.c,unit sim fuzz real))
note_src := $(wildcard kernel-notes/*/experiment.c)
bench_src := $(wildcard bench/*.c)
# Those with more than one thread, which make test runs under the thread sanitizer as well.
threads_src := $(shell grep -ls '^/\* tsan' $(wildcard tests/unit/*.c))
micro_src := $(wildcard bench/micro/*.c)

## make            builds fairlead and fairlead-lab into build/release
## make STUDY=no   without the route actions of src/study
## make VARIANT=asan   the same with address and undefined sanitizers, into build/asan;
##                 VARIANT=tsan: with the thread sanitizer
all: programs

## make run        builds, starts the lab and fairlead with examples/quickstart.yaml
run: programs
	@VARIANT=$(VARIANT) tools/run-quickstart

## make test       builds all variants and runs every test; T=PATTERN: only these
test: $(VARIANTS:%=%/programs) release/tests asan/tests tsan/threads release/notes
	@tests/run $(if $(T),'$(T)')

## make test-long  tests that take too long for make test (tests/README.md); T=PATTERN: only
##                 these steps. Takes hours; SEEDS= S= MIN= set the length of steps
test-long: $(VARIANTS:%=%/programs) release/tests asan/tests tsan/threads
	@SEEDS='$(SEEDS)' S='$(S)' MIN='$(MIN)' tests/long $(if $(T),'$(T)')

## make sim        the simulation with SEEDS=N seeds; SEED=N: prints the run of that seed
sim: build/$(VARIANT)/tests/sim/sim
	@$< $(if $(SEED),-v -s $(SEED),-n $(or $(SEEDS),100000) -s $(or $(FIRST),1))

## make soak MIN=10   a mixed load with kills and restarts, MIN minutes on each engine;
##                 ENGINE=epoll: only on this one. Curves and charts go to build/soak
soak: $(VARIANT)/programs $(VARIANT)/tests
	@for e in $(or $(ENGINE),io_uring epoll); do \
		MIN=$(or $(MIN),10) ENGINE=$$e VARIANT=$(VARIANT) OUT=$(CURDIR)/build/soak \
			tests/real/soak.py || exit 1; \
	done

## make mutants    breaks the program, and the experiments of kernel-notes, in ways that tests
##                 must detect; T=PATTERN: only these
mutants: release/programs release/tests
	@tests/mutants/run $(if $(T),'$(T)')
	@tests/mutants/notes $(if $(T),'$(T)')

## make tests      builds the test programs of VARIANT
programs tests: %: $(VARIANT)/%

## make notes      runs the experiments of kernel-notes on this kernel
notes: release/notes
	@tests/run '^notes/'

## make install    puts fairlead, manual pages, completion, examples and the units of systemd
##                 below DESTDIR and PREFIX (/usr/local)
install: programs build/man/fairlead.8
	install -D -m 755 build/$(VARIANT)/fairlead $(DESTDIR)$(PREFIX)/bin/fairlead
	install -D -m 644 -t $(DESTDIR)$(datadir)/man/man8 build/man/fairlead.8
	install -D -m 644 -t $(DESTDIR)$(datadir)/man/man5 build/man/fairlead.yaml.5
	install -d $(DESTDIR)$(datadir)/bash-completion/completions \
		$(DESTDIR)$(datadir)/zsh/site-functions $(DESTDIR)$(unitdir)
	build/$(VARIANT)/fairlead completion bash \
		>$(DESTDIR)$(datadir)/bash-completion/completions/fairlead
	build/$(VARIANT)/fairlead completion zsh >$(DESTDIR)$(datadir)/zsh/site-functions/_fairlead
	install -D -m 644 -t $(DESTDIR)$(docdir) README.md SECURITY.md CHANGELOG.md LICENSE docs/*
	install -D -m 644 -t $(DESTDIR)$(docdir)/examples examples/*.* examples/Dockerfile
	install -D -m 644 -t $(DESTDIR)$(docdir)/examples/pages examples/pages/*
	install -D -m 644 -t $(DESTDIR)$(docdir)/examples/prometheus examples/prometheus/*
	install -D -m 644 debian/fairlead.logrotate $(DESTDIR)$(docdir)/examples/fairlead.logrotate
	sed 's,/usr/local/bin,$(PREFIX)/bin,' examples/fairlead.service \
		>$(DESTDIR)$(unitdir)/fairlead.service
	install -m 644 -t $(DESTDIR)$(unitdir) examples/fairlead.socket

build/man/fairlead.8: docs/command-line.md docs/configuration.md include/run/version.h tools/man
	@tools/man build/man

## make dist       the sources as build/dist/fairlead-VERSION.tar.gz, reproducible
dist:
	@tools/dist

## make deb        builds the Debian package into build/deb and checks it with lintian
deb:
	@tools/deb

## make fuzz T=request S=60   runs a target of tests/fuzz for S seconds (with clang-14, not CC);
##                 MERGE=1 adds new inputs to the corpus
fuzz: build/fuzz/tests/fuzz/fuzz_$(T)
	@tools/fuzz '$(T)' $(or $(S),60) $(MERGE)

## make cost       measures the cost of ring restrictions, sandbox and assertions; needs a quiet
##                 machine
cost: release/programs release/tests unchecked/programs
	@bench/privileges

## make format     formats all C files with clang-format
format:
	clang-format -i $(shell find include src tests bench kernel-notes -name '*.[ch]')

## make tidy       runs the checks of tests/tidy
tidy:
	@for check in tests/tidy/*; do [ ! -x $$check ] || $$check || exit 1; done

## make analyse    gcc -fanalyzer, clang-tidy and cppcheck over src
analyse:
	@tools/analyse '$(base_flags) -Iinclude $(libs_cflags)'

## make bench-concurrency   N requests at once to slow servers, through fairlead and alternatives,
##                 40 minutes; N="1 100", W=cache-1000 (a workload), C=go (a contestant) for less
bench-concurrency: release/programs build/release/tests/real/load build/release/tests/real/tunnel
	@N='$(N)' W='$(W)' C='$(C)' ROUNDS='$(ROUNDS)' bench/concurrency

## make bench-micro   measures the parts of a request in ns and instructions; T=PATTERN: only these
bench-micro: release/bench
	@bench/micro/run $(if $(T),'$(T)')

## make bench      measures against nginx, HAProxy and a bare tunnel, and writes bench/results;
##                 W=small-64,... only these, ROUNDS=5 SECONDS=3. make bench-quick: in 12 minutes
bench bench-quick: release/programs release/bench
	@bench/run $(if $(filter bench-quick,$@),--quick) $(if $(W),--only '$(W)') \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS))

## make bench-compare BASE=COMMIT   CPU time per request, this tree against a commit, as a ratio
##                 with its interval; W=, ROUNDS=, SECONDS= as above, ENGINE=epoll
bench-compare: release/programs release/bench
	@bench/compare '$(or $(BASE),$(error BASE=COMMIT is missing))' $(if $(W),--only '$(W)') \
		$(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SECONDS),--seconds $(SECONDS)) \
		$(if $(ENGINE),--engine $(ENGINE))

## make clean      removes compiled files, keeps the packages of tools/bring
clean:
	rm -rf $(VARIANTS:%=build/%) build/fuzz build/unchecked build/long build/libs.mk build/test-results.txt

## make help       this list
help:
	@sed -n 's/^## //p' Makefile

# --- libraries: what tools/bring has found or fetched ---------------------------

# make reads this file again when its rule has changed it, and the rule runs in each
# make that compiles, so a build never starts before everything is there.
ifneq ($(filter-out clean help format,$(or $(MAKECMDGOALS),all)),)
$(shell mkdir -p build; [ -e build/libs.mk ] || : >build/libs.mk)
include build/libs.mk
endif

tests_goals := test test-long tests sim soak mutants notes fuzz cost bench bench-quick bench-compare \
	       bench-concurrency %/tests %/threads %/notes
needs := build $(if $(filter $(tests_goals),$(MAKECMDGOALS)),test) \
	 $(if $(filter fuzz test-long,$(MAKECMDGOALS)),fuzz) \
	 $(if $(filter analyse test-long,$(MAKECMDGOALS)),analyse) $(filter cost soak,$(MAKECMDGOALS)) \
	 $(if $(filter bench bench-quick bench-compare,$(MAKECMDGOALS)),bench) \
	 $(patsubst bench-%,%,$(filter bench-concurrency bench-micro,$(MAKECMDGOALS)))
build/libs.mk: $(if $(MAKE_RESTARTS),,FORCE)
	@tools/bring $(needs)
	@tools/libs > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# --- how one variant is built ---------------------------------------------------

# Object files of the sources $2 in variant $1.
objects = $(patsubst %.c,build/$1/obj/%.o,$2)

define variant
.PHONY: $1/programs $1/tests $1/threads $1/notes $1/bench

$1_objects := $(call objects,$1,$(layer_src) $(llhttp_src))
$1_testlib := $(if $(testlib_src),build/$1/libtest.a)
$1_programs := $(if $(main_src),build/$1/fairlead) $(if $(lab_src),build/$1/fairlead-lab)
$1_single := $(single_src:%.c=build/$1/%)
$1_bench := $(bench_src:%.c=build/$1/%)
$1_contract := $(if $(contract_src),build/$1/tests/contract)
$1_notes := $(patsubst kernel-notes/%/experiment.c,build/$1/notes/%,$(note_src))

$1/programs: $$($1_programs)
$1/tests: $$($1_single) $$($1_contract) $$($1_bench)
$1/bench: $$($1_bench) build/$1/tests/real/load build/$1/tests/real/repeat
$1/threads: $(threads_src:%.c=build/$1/%) $$($1_contract)
$1/notes: $$($1_notes)
$1/bench: build/$1/bench/micro

build/$1/libfairlead.a: $$($1_objects)
build/$1/libtest.a: $(call objects,$1,$(testlib_src))

build/$1/libfairlead.a build/$1/libtest.a:
	@rm -f $$@
	$$(call show,AR,$$@)
	$$(Q)$(AR) rcs $$@ $$^

build/$1/fairlead: $(call objects,$1,$(main_src)) build/$1/libfairlead.a
build/$1/fairlead-lab: $(call objects,$1,$(lab_src)) build/$1/libfairlead.a
$$($1_contract): $(call objects,$1,$(contract_src)) $$($1_testlib) build/$1/libfairlead.a
$$($1_single): build/$1/%: build/$1/obj/%.o $$($1_testlib) build/$1/libfairlead.a
$$($1_notes): build/$1/notes/%: build/$1/obj/kernel-notes/%/experiment.o
$$($1_bench): build/$1/%: build/$1/obj/%.o
build/$1/bench/micro: $(call objects,$1,$(micro_src)) build/$1/libfairlead.a

$$($1_programs): link = $$($1_link)
$$($1_single) $$($1_contract) $$($1_notes) $$($1_bench) build/$1/bench/micro: link = $(if $($1_link),-fno-lto)
$$($1_programs) $$($1_single) $$($1_contract) $$($1_notes) $$($1_bench) build/$1/bench/micro:
	$$(call show,LD,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$($1_cc) $(base_flags) $($1_flags) $(hardening_link) $$(link) $(LDFLAGS) -o $$@ $$^ $$($1_engine) \
		$$(if $$(filter build/$1/tests/%,$$@),$$(test_libs)) $$(libs_libs)

build/$1/obj/src/%.o: flags = $(warnings) -Iinclude
build/$1/obj/tests/%.o: flags = $(warnings) -Iinclude -Itests $(test_cflags)
build/$1/obj/bench/%.o: flags = $(warnings) -Iinclude
build/$1/obj/kernel-notes/%.o: flags = $(warnings)
build/$1/obj/build/deps/%.o: flags = -w -fno-sanitize=undefined

build/$1/obj/%.o: %.c build/$1/flags
	$$(call show,CC,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$($1_cc) $(base_flags) $($1_flags) $$(flags) $(libs_cflags) $(CFLAGS) -MMD -MP -c -o $$@ $$<

# A part of it, by .incbin.
build/$1/obj/src/run/worker/statuspage.o: src/run/worker/status.html

# Changes when the flags do, and everything with it.
build/$1/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$($1_cc) $(base_flags) $($1_flags) $(hardening_link) $(warnings) $(libs_cflags) \
		$(CFLAGS)' > $$@.new
	@cmp -s $$@.new $$@ && rm $$@.new || mv $$@.new $$@

-include $(patsubst %.o,%.d,$(call objects,$1,$(layer_src) $(llhttp_src) $(main_src) \
	$(lab_src) $(testlib_src) $(contract_src) $(single_src) $(note_src) $(micro_src) \
	$(bench_src)))
endef

# One line per step; V=1 shows the commands.
show = @echo '  $1  $2'
Q := $(if $(filter 1,$(V)),,@)

$(foreach v,$(VARIANTS) fuzz unchecked,$(eval $(call variant,$v)))
