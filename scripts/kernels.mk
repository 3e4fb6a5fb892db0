# The CUDA kernels: each kernels/cuda/*.cu becomes a SIMT object by the host compiler, always, and a CUDA object by
# nvcc, where there is one.
comma         := ,
KERNELS       := $(sort $(wildcard kernels/cuda/*.cu))
SIMT_TESTS    := $(sort $(wildcard tests/simt/*.cpp))
SIMT_SUBJECTS := $(sort $(wildcard tests/simt/*.cu))
OTHER_GPU_SRC := $(if $(NVCC),src/gpu/no_cuda.cpp,$(wildcard src/gpu/cuda_*.cpp)) \
                 $(if $(NVTX),src/gpu/no_nvtx.cpp,src/gpu/cuda_nvtx.cpp) \
                 $(if $(NCCL_LIBRARY),src/comm/no_nccl.cpp,src/comm/nccl_collectives.cpp) \
                 $(if $(CUDNN_LIBRARY),src/gpu/no_cudnn.cpp,$(wildcard src/gpu/cudnn_*.cpp))
kernel_objects = $(patsubst %.cu,$(BUILD)/%.simt.o,$(1)) $(if $(NVCC),$(patsubst %.cu,$(BUILD)/%.cuda.o,$(1)))

# Kernels look at the same memory as different types, as CUDA allows.
SIMT_FLAGS    := -fno-strict-aliasing -Wno-unknown-pragmas
CUDA_ARCHS    ?= -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
                 -gencode arch=compute_90,code=compute_90
NVCC_FLAGS    := -std=c++20 -O3 --expt-relaxed-constexpr -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror \
                 -Xptxas -v $(CUDA_ARCHS)
CUDA_CFLAGS   := $(if $(NVCC),-DWD_CUDA -DWD_HOPPER=$(if $(findstring sm_90a,$(CUDA_ARCHS)),1,0) -isystem $(CUDA_ROOT)/include)
NCCL_CFLAGS   := $(patsubst %/nccl.h,-isystem %,$(filter-out /usr/include/% /usr/local/include/%,$(NCCL_HEADER)))
CUDNN_CFLAGS  := $(patsubst %/cudnn.h,-isystem %,$(filter-out /usr/include/cudnn.h /usr/local/include/%,$(CUDNN_HEADER)))
# The static runtime finds the driver when it runs: the program starts where there is none. NCCL's and cuDNN's folders
# first: the toolkit's may have other versions.
CUDA_LIBS     := $(foreach library,$(NCCL_LIBRARY) $(CUDNN_LIBRARY),$(library) -Wl$(comma)-rpath$(comma)$(dir $(library))) \
                 $(if $(NVCC),-L$(CUDA_ROOT)/lib64 -lcublasLt -lcudart_static -ldl -lrt -Wl$(comma)-rpath$(comma)$(CUDA_ROOT)/lib64)
LDLIBS        += $(CUDA_LIBS)
