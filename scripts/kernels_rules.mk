# How kernels, and the programs that test them under sanitizers, are compiled (scripts/kernels.mk has the lists).
$(BUILD)/cuda_flags: force
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCC_FLAGS) $(NCCL_LIBRARY) $(CUDNN_LIBRARY)' | cmp -s - $@ || \
   echo '$(NVCC) $(NVCC_FLAGS) $(NCCL_LIBRARY) $(CUDNN_LIBRARY)' > $@

CUDA_AWARE := $(call obj,$(wildcard src/gpu/cuda_*.cpp src/gpu/cudnn_*.cpp) src/comm/nccl_collectives.cpp $(SIMT_TESTS) \
              bench/gpu/stopwatch.cpp)
# In front of the toolkit's folder, which may have another version.
$(BUILD)/src/comm/nccl_collectives.o: CPPFLAGS += $(NCCL_CFLAGS)
$(call obj,$(wildcard src/gpu/cudnn_*.cpp)): CPPFLAGS += $(CUDNN_CFLAGS)
$(CUDA_AWARE): CPPFLAGS += $(CUDA_CFLAGS)
$(CUDA_AWARE): $(BUILD)/cuda_flags

$(BUILD)/%.simt.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "  SIMT $<"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(SIMT_FLAGS) -x c++ -c $< -o $@

# What ptxas says about registers and spills is kept beside the object.
$(BUILD)/%.cuda.o: %.cu $(BUILD)/cuda_flags
	@mkdir -p $(@D)
	@echo "  NVCC $<"
	@$(NVCC) $(NVCC_FLAGS) -Iinclude -I. -MMD -MP -MF $(@:.o=.d) -c $< -o $@ > $(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas); exit 1; }

# The tests with one kernel file, SUBJECT, replaced by a copy with a fault, MUTANT, as the program OUT
# (tests/simt/product_mutants.sh); mutant-asan and mutant-tsan below.
.PHONY: mutant-plain mutant-asan mutant-tsan mutant-mpi
mutant-plain: $(call obj,$(SIMT_TESTS)) $(call kernel_objects,$(SIMT_SUBJECTS)) $(BUILD)/libwandistill.a
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(SIMT_FLAGS) -x c++ -c $(MUTANT) -o $(OUT).o
	@$(CXX) $(CXXFLAGS) $(filter %.o,$^) $(OUT).o $(BUILD)/libwandistill.a $(LDFLAGS) $(LDLIBS) -o $(OUT)

mutant-mpi: $(call obj,$(MPI_SRC)) $(BUILD)/libwandistill.a
	@$(CXX) $(CPPFLAGS) -I$(dir $(SUBJECT)) $(CXXFLAGS) -c $(MUTANT) -o $(OUT).o
	@$(CXX) $(CXXFLAGS) $(filter %.o,$^) $(OUT).o $(BUILD)/libwandistill.a $(LDFLAGS) $(LDLIBS) -o $(OUT)

# The same tests with sanitizers: kernels, SIMT layer and tests anew, the plain twins as they are. ThreadSanitizer must
# not look into the layer itself, which tells it what CUDA threads do (kernels/simt/sanitizers.h).
SANITIZED_TWINS := $(wildcard kernels/ref/*.cpp) src/tensor/philox.cpp src/sample/ddim_coefficients.cpp
SANITIZED_SRC := $(filter-out tests/simt/products_test.cpp tests/simt/guided_velocity_test.cpp tests/simt/experts_test.cpp,$(SIMT_TESTS)) $(wildcard kernels/simt/*.cpp) \
                 src/gpu/simt_device.cpp src/gpu/staging_ring.cpp src/gpu/no_cuda.cpp src/io/no_fault.cpp
SANITIZED_CU  := $(KERNELS) $(SIMT_SUBJECTS)
SANITIZED     := -std=c++20 -O1 -g -march=$(ARCH) -ffp-contract=off -Wall -Wextra -Werror -Wno-psabi -MMD -MP
ASAN_FLAGS    := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
TSAN_FLAGS    := -fsanitize=thread
TSAN_LAYER    := $(BUILD)/tsan/kernels/simt/%.o $(BUILD)/tsan/src/gpu/%.o

define sanitized
$(BUILD)/$(1)/%.o: %.cpp $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  CXX  $$< ($(1))"
	@$(CXX) -Iinclude -I. $(SANITIZED) $$(SANITIZER) -c $$< -o $$@
$(BUILD)/$(1)/%.simt.o: %.cu $(BUILD)/flags
	@mkdir -p $$(@D)
	@echo "  SIMT $$< ($(1))"
	@$(CXX) -Iinclude -I. $(SANITIZED) $(SIMT_FLAGS) $$(SANITIZER) -x c++ -c $$< -o $$@
$(1)_objects := $(patsubst %.cpp,$(BUILD)/$(1)/%.o,$(SANITIZED_SRC)) $(patsubst %.cu,$(BUILD)/$(1)/%.simt.o,$(SANITIZED_CU)) \
  $(call obj,$(SANITIZED_TWINS))
$(BIN)/simt_tests_$(1): $$($(1)_objects)
	@mkdir -p $$(@D)
	@echo "  LD   $$@"
	@$(CXX) $(2) $$^ -lpthread -o $$@
mutant-$(1): $$(filter-out $(BUILD)/$(1)/$(SUBJECT:.cu=.simt.o),$$($(1)_objects))
	@$(CXX) -Iinclude -I. $(SANITIZED) $(SIMT_FLAGS) $(2) -x c++ -c $(MUTANT) -o $(OUT).o
	@$(CXX) $(2) $$^ $(OUT).o -lpthread -o $(OUT)
endef
$(eval $(call sanitized,asan,$(ASAN_FLAGS)))
$(eval $(call sanitized,tsan,$(TSAN_FLAGS)))
$(BUILD)/asan/%.o: SANITIZER := $(ASAN_FLAGS)
$(BUILD)/tsan/%.o: SANITIZER := $(TSAN_FLAGS)
$(TSAN_LAYER): SANITIZER := -DWD_TSAN
