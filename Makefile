# wandistill: `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := all

CXX      ?= g++
ARCH     ?= native
OPT      ?= -O3
BUILD    ?= build
BIN      ?= bin
PREFIX   ?= /usr/local
VERSION  := 0.1.0

include scripts/find.mk
include scripts/kernels.mk

CPPFLAGS += -Iinclude -I. -DOMPI_SKIP_MPICXX -DWANDISTILL_VERSION='"$(VERSION)"' $(DEPS_CFLAGS)
# -Wno-restrict: g++ 12 warns wrongly at string concatenations (https://gcc.gnu.org/PR105651). -Wno-psabi: vectors of 64
# bytes are passed within a file alone.
CXXFLAGS += -std=c++20 $(OPT) -march=$(ARCH) -fopenmp -ffp-contract=off -fno-math-errno -fno-trapping-math \
            -Wall -Wextra -Werror -Wno-restrict -Wno-psabi -MMD -MP
LDLIBS   += $(DEPS_LIBS) -lpthread

LIB_SRC   := $(sort $(filter-out src/cli/main.cpp $(OTHER_GPU_SRC),$(wildcard src/*/*.cpp)) \
               $(wildcard kernels/ref/*.cpp kernels/cpu/*.cpp kernels/simt/*.cpp))
UNIT_SRC  := $(sort $(wildcard tests/unit/*.cpp))
MPI_SRC   := $(sort $(wildcard tests/mpi/*.cpp))
BENCH_SRC := $(sort $(wildcard bench/*.cpp))
obj        = $(patsubst %.cpp,$(BUILD)/%.o,$(1))
PROGRAMS  := $(BIN)/wandistill $(BIN)/golden_check
TESTS     := $(BIN)/unit_tests $(BIN)/mpi_tests $(BIN)/simt_tests $(BIN)/wandistill_faults \
             $(BIN)/make_teacher $(BIN)/teacher_check $(if $(NVTX),$(BIN)/nvtx_recorder.so)
GPU_BENCH := $(sort $(wildcard bench/gpu/*.cpp))
PEER_BENCH := $(sort $(wildcard bench/peers/*.cpp))
BENCHES   := $(patsubst bench/%.cpp,$(BIN)/bench/%,$(BENCH_SRC))

# g++ prefers vectors of 256 bits on CPUs that have 512, for the sake of early ones.
WIDE_VECTORS := $(if $(filter x86_64,$(shell uname -m)),-mprefer-vector-width=512)
# Contraction to fused multiply-add is wanted in the fast kernels only; elsewhere rounding is as written.
$(BUILD)/kernels/cpu/%.o: CXXFLAGS += -ffp-contract=fast $(WIDE_VECTORS)
# g++ 12 takes AVX-512 intrinsics, Eigen's among them, for uninitialised reads (https://gcc.gnu.org/PR105593).
$(BUILD)/src/model/project%.o $(BUILD)/tests/teacher/float64.o $(BUILD)/kernels/cpu/bf16_tiles.o: CXXFLAGS += -Wno-maybe-uninitialized

.PHONY: all tests benches force
all: found $(PROGRAMS) ## say what was found and build the programs (CUDA=0: without CUDA)
tests: $(TESTS) $(BIN)/bench/gpu_bench
benches: $(BENCHES)

# Objects are built when the libraries are there, and again when compiler or flags are others.
FLAGS := $(CXX) $(CXXFLAGS) $(VERSION) $(DEPS_CFLAGS)
$(BUILD)/flags: force
	@mkdir -p $(@D)
	@echo '$(FLAGS)' | cmp -s - $@ || echo '$(FLAGS)' > $@
$(BUILD)/deps_found:
	@mkdir -p $(@D)
	@$(FIND) report > /dev/null || { echo "Libraries are missing: 'make found' lists them, 'make deps' installs them."; exit 1; }
	@touch $@

$(BUILD)/%.o: %.cpp $(BUILD)/flags | $(BUILD)/deps_found
	@mkdir -p $(@D)
	@echo "  CXX  $<"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@

$(BUILD)/libwandistill.a: $(call obj,$(LIB_SRC)) $(call kernel_objects,$(KERNELS)) $(BUILD)/cuda_flags
	@echo "  AR   $@"
	@rm -f $@ && ar rcs $@ $(filter %.o,$^)

define program
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CXX) $(CXXFLAGS) $(filter %.o,$^) $(BUILD)/libwandistill.a $(LDFLAGS) $(LDLIBS) -o $@
endef

# Faults that tests inject: linked in front of the library, this object takes the place of src/io/no_fault.cpp.
FAULTS    := $(BUILD)/tests/faults/fault.o

$(BIN)/wandistill: $(BUILD)/src/cli/main.o $(BUILD)/libwandistill.a
	$(program)
$(BIN)/wandistill_faults: $(BUILD)/src/cli/main.o $(FAULTS) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/golden_check: $(BUILD)/tests/golden/golden_check.o $(BUILD)/libwandistill.a
	$(program)
$(BIN)/make_teacher: $(BUILD)/tests/teacher/make_teacher.o $(BUILD)/libwandistill.a
	$(program)
$(BIN)/teacher_check: $(call obj,tests/teacher/teacher_check.cpp tests/teacher/float64.cpp) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/nvtx_recorder.so: tests/nvtx/recorder.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  LD   $@"
	@$(CXX) $(CXXFLAGS) $(CUDA_CFLAGS) -MF $(BUILD)/nvtx_recorder.d -fPIC -shared $< -o $@
$(BIN)/unit_tests: $(call obj,$(UNIT_SRC)) $(FAULTS) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/mpi_tests: $(call obj,$(MPI_SRC)) $(FAULTS) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/simt_tests: $(call obj,$(SIMT_TESTS)) $(call kernel_objects,$(SIMT_SUBJECTS)) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/bench/gpu_bench: $(call obj,$(GPU_BENCH)) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/bench/warm: $(call obj,$(PEER_BENCH)) $(BUILD)/libwandistill.a
	$(program)
$(BIN)/bench/%: $(BUILD)/bench/%.o $(FAULTS) $(BUILD)/libwandistill.a
	$(program)

include scripts/kernels_rules.mk
include scripts/targets.mk
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
