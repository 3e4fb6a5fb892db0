# Targets that start a make of their own after `deps`, so that it sees what has just been installed.
.PHONY: demo check check-slurm check-long fault-table check-diffusers bench bench-peers gpu-check gpu-bench kernel-table lint format clean install help

# As many jobs as cores, unless the caller chose a number.
JOBS   ?= $(shell nproc)
submake = +@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))

demo: deps ## distil the embedded teacher with two ranks; DEMO_MINUTES=N for a longer run
	$(submake) all $(if $(wildcard /dev/nvidiactl),,CUDA=0)
	@scripts/demo.sh
check: deps ## build and run all tests
	$(submake) all tests
	@scripts/check.sh
check-slurm: deps ## the job scripts on a private Slurm (as root; installs it), part of check
	$(submake) all
	@tests/slurm/jobs.sh || { [ $$? = 77 ] && echo "check-slurm: skipped, nothing was tested"; }
check-long: deps ## the longer test campaigns
	$(submake) all tests $(BIN)/simt_tests_asan $(BIN)/simt_tests_tsan
	@scripts/check.sh --long
fault-table: deps ## who catches the faults put into kernels: tests/simt/faults.txt, in about half an hour
	$(submake) all tests $(BIN)/simt_tests_asan $(BIN)/simt_tests_tsan
	@tests/simt/fault_table.sh
check-diffusers: deps ## open an exported student with diffusers (installs torch under build/)
	$(submake) all
	@scripts/check_diffusers.sh
bench: deps ## build and run the benchmarks (about ten minutes), results in OUT
	$(submake) all benches
	@OUT='$(OUT)' scripts/bench.sh $(filter-out %/sampling_scaling %/scale_model,$(BENCHES))
bench-peers: deps ## the same computations by diffusers on the CPU, compared and timed in turn (installs torch under build/)
	$(submake) $(BIN)/bench/warm $(BIN)/bench/data_parallel
	@scripts/bench_peers.sh
gpu-check: deps ## the kernels, the golden check and compute-sanitizer on a GPU; without one it says so
	$(submake) all tests
	@scripts/gpu_check.sh
gpu-bench: deps ## time the kernels on a GPU beside cuDNN and PyTorch, results in OUT; without one it says so
	$(submake) all $(BIN)/bench/gpu_bench
	@OUT='$(OUT)' scripts/gpu_bench.sh
kernel-table: all ## registers, spills, shared memory and tensor-core instructions of every kernel (needs nvcc)
	@CUOBJDUMP=$(or $(wildcard $(CUDA_ROOT)/bin/cuobjdump),cuobjdump) scripts/kernel_table.sh $(patsubst %.cu,$(BUILD)/%.cuda.o,$(KERNELS))
lint: ## check formatting and the rules that a compiler does not know
	@scripts/lint.sh
format: ## format all C++ sources with clang-format
	@git ls-files -co --exclude-standard '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format -i
clean: ## remove everything that was built
	rm -rf $(BUILD) $(BIN)
install: all ## install program and data under PREFIX (default /usr/local); DESTDIR is respected
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(PREFIX)/share/wandistill'
	install $(BIN)/wandistill '$(DESTDIR)$(PREFIX)/bin/wandistill'
	cp -R data '$(DESTDIR)$(PREFIX)/share/wandistill/'
help: ## this list
	@echo "make TARGET [VARIABLE=value]   variables: CXX ARCH OPT CUDA NCCL_HOME CUDNN_HOME PREFIX JOBS BUILD BIN"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	 while IFS='|' read -r target text; do printf '  %-16s %s\n' "$$target" "$$text"; done
	@printf '  %-16s %s\n' print-VAR 'the value of a variable of the Makefile'
print-%:
	@echo '$* = $($*)'
