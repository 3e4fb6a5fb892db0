# Flags of the libraries that the program is built from; `found` says what is there (scripts/deps.sh has the list).
PKG_CONFIG  ?= pkg-config
CUDA_HOME   ?= /usr/local/cuda
DEPS        := ompi-c hdf5-openmpi libpng sentencepiece libutf8proc eigen3
# As system headers: their warnings are not ours.
DEPS_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(DEPS) 2>/dev/null))
DEPS_LIBS   := $(shell $(PKG_CONFIG) --libs $(DEPS) 2>/dev/null) -ldnnl -lboost_program_options
# CUDA is taken if nvcc, its runtime library and cuBLASLt are there; CUDA=0 leaves it out.
CUDA        ?= 1
NVCC        := $(if $(filter-out 0,$(CUDA)),$(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc)))
CUDA_ROOT   := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
ifneq ($(words $(wildcard $(CUDA_ROOT)/lib64/libcudart_static.a $(CUDA_ROOT)/lib64/libcublasLt.so)),2)
NVCC        :=
endif
# The stages of a run are shown to profilers if its header is there.
NVTX        := $(if $(NVCC),$(wildcard $(CUDA_ROOT)/include/nvtx3/nvToolsExt.h))
# NCCL, for more than one GPU, is taken with CUDA: from NCCL_HOME if that is set, else where packages put it.
NCCL_PLACES  := $(or $(NCCL_HOME),$(CUDA_ROOT) /usr/local /usr)
NCCL_HEADER  := $(if $(NVCC),$(firstword $(wildcard $(NCCL_PLACES:%=%/include/nccl.h))))
NCCL_LIBRARY := $(if $(NCCL_HEADER),$(firstword $(wildcard $(foreach name,libnccl.so libnccl.so.2,$(foreach place,$(NCCL_PLACES),\
                  $(place)/lib64/$(name) $(place)/lib/$(name) $(place)/lib/*-linux-gnu/$(name))))))
# cuDNN, whose convolution may take the place of ours, likewise, with CUDNN_HOME.
CUDNN_PLACES  := $(or $(CUDNN_HOME),$(CUDA_ROOT) /usr/local /usr)
CUDNN_HEADER  := $(if $(NVCC),$(firstword $(wildcard $(CUDNN_PLACES:%=%/include/cudnn.h) $(CUDNN_PLACES:%=%/include/*-linux-gnu/cudnn.h))))
CUDNN_LIBRARY := $(if $(CUDNN_HEADER),$(firstword $(wildcard $(foreach name,libcudnn.so libcudnn.so.9,$(foreach place,$(CUDNN_PLACES),\
                   $(place)/lib64/$(name) $(place)/lib/$(name) $(place)/lib/*-linux-gnu/$(name))))))
FIND        := NVCC='$(NVCC)' NCCL='$(NCCL_LIBRARY)' CUDNN='$(CUDNN_LIBRARY)' CXX='$(CXX)' PKG_CONFIG='$(PKG_CONFIG)' CUDA_HOME='$(CUDA_HOME)' scripts/deps.sh

.PHONY: found deps
found:
	@$(FIND) report
deps: ## install the Debian packages that are missing (as root or with sudo, else says what to run)
	@$(FIND) install
