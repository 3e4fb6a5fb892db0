# Flags of the libraries that the program is built from; `found` says what is there (scripts/deps.sh has the list).
PKG_CONFIG  ?= pkg-config
CUDA_HOME   ?= /usr/local/cuda
DEPS        := ompi-c hdf5-openmpi libpng sentencepiece libutf8proc eigen3
# As system headers: their warnings are not ours.
DEPS_CFLAGS := $(patsubst -I%,-isystem %,$(shell $(PKG_CONFIG) --cflags $(DEPS) 2>/dev/null))
DEPS_LIBS   := $(shell $(PKG_CONFIG) --libs $(DEPS) 2>/dev/null) -ldnnl -lboost_program_options
# CUDA is taken if nvcc and its runtime library are there; CUDA=0 leaves it out.
CUDA        ?= 1
NVCC        := $(if $(filter-out 0,$(CUDA)),$(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc)))
CUDA_ROOT   := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
ifeq ($(wildcard $(CUDA_ROOT)/lib64/libcudart_static.a),)
NVCC        :=
endif
FIND        := NVCC='$(NVCC)' CXX='$(CXX)' PKG_CONFIG='$(PKG_CONFIG)' CUDA_HOME='$(CUDA_HOME)' scripts/deps.sh

.PHONY: found deps
found:
	@$(FIND) report
deps: ## install the Debian packages that are missing (as root or with sudo, else says what to run)
	@$(FIND) install
