// Maxima of 2x2 pixels, and their gradients, which go to the largest pixel alone: the others are zero. Each pixel is
// written once, where torch first fills all with zeros.
//
// Images are float (n, height, width, channels), dense, with an even height and width. Which of its four pixels was
// taken is a byte for each output, 0 to 3, row by row.

#include <immintrin.h>

#include <cmath>

namespace {

constexpr long LANES = 8;

struct Shape {
    long n, height, width, channels;
    long rows() const { return n * (height / 2); }
};

// The first of four pixels, for a row of outputs and a place in it.
inline long corner(const Shape& shape, long row, long place) { return (2 * row * shape.width + 2 * place) * shape.channels; }

inline long pixel(const Shape& shape, int which) { return (which / 2 * shape.width + which % 2) * shape.channels; }

inline __m256i unpacked(const unsigned char* from) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

inline void pack(__m256i numbers, unsigned char* to) {
    __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}

}  // namespace

extern "C" {

// images -> outputs (n, height / 2, width / 2, channels), and which of the pixels they are; NaN is larger than all.
void pool(const float* images, float* outputs, unsigned char* which, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long place = 0; place < across; place++) {
            const float* from = images + corner(shape, row, place);
            long to = (row * across + place) * shape.channels, channel = 0;
            for (; channel + LANES <= shape.channels; channel += LANES) {
                __m256 best = _mm256_loadu_ps(from + channel);
                __m256i taken = _mm256_setzero_si256();
                for (int one = 1; one < 4; one++) {
                    __m256 other = _mm256_loadu_ps(from + pixel(shape, one) + channel);
                    __m256 larger = _mm256_or_ps(_mm256_cmp_ps(other, best, _CMP_GT_OQ), _mm256_cmp_ps(other, other, _CMP_UNORD_Q));
                    best = _mm256_blendv_ps(best, other, larger);
                    taken = _mm256_blendv_epi8(taken, _mm256_set1_epi32(one), _mm256_castps_si256(larger));
                }
                _mm256_storeu_ps(outputs + to + channel, best);
                pack(taken, which + to + channel);
            }
            for (; channel < shape.channels; channel++) {
                float best = from[channel];
                unsigned char taken = 0;
                for (int one = 1; one < 4; one++) {
                    float other = from[pixel(shape, one) + channel];
                    if (other > best || std::isnan(other)) best = other, taken = one;
                }
                outputs[to + channel] = best;
                which[to + channel] = taken;
            }
        }
}

// gradients of the outputs, and which pixels those are -> gradients of the images
void pool_gradient(const float* gradients, const unsigned char* which, float* images, Shape shape, int threads) {
    long across = shape.width / 2;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (long row = 0; row < shape.rows(); row++)
        for (long place = 0; place < across; place++) {
            float* to = images + corner(shape, row, place);
            long from = (row * across + place) * shape.channels, channel = 0;
            for (; channel + LANES <= shape.channels; channel += LANES) {
                __m256 gradient = _mm256_loadu_ps(gradients + from + channel);
                __m256i taken = unpacked(which + from + channel);
                for (int one = 0; one < 4; one++) {
                    __m256 own = _mm256_castsi256_ps(_mm256_cmpeq_epi32(taken, _mm256_set1_epi32(one)));
                    _mm256_storeu_ps(to + pixel(shape, one) + channel, _mm256_and_ps(gradient, own));
                }
            }
            for (; channel < shape.channels; channel++)
                for (int one = 0; one < 4; one++)
                    to[pixel(shape, one) + channel] = which[from + channel] == one ? gradients[from + channel] : 0.f;
        }
}
}
