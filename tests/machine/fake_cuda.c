/* A driver of eight cards, as far as qpipe asks: card N has a UUID of bytes N+1. It understands
   CUDA_VISIBLE_DEVICES as the real one does: indices, UUIDs and their beginnings, up to the first
   that is none; an instance of MIG hides all after it. FAKE_CUDA_ORDER=reversed is another order
   of the same cards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shown[8], count;

static void text_of(int card, char *text) {
    int b = card + 1;
    sprintf(text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
            b, b, b, b, b, b, b, b, b, b, b, b, b, b, b, b);
}

static int card_of(const char *name) {
    char text[64];
    if (name[0] >= '0' && name[0] <= '9') {
        int index = atoi(name);
        if (index >= 8) return -1;
        return getenv("FAKE_CUDA_ORDER") ? 7 - index : index;
    }
    for (int card = 0; card < 8; card++) {
        text_of(card, text);
        if (strlen(name) > 4 && strncmp(text, name, strlen(name)) == 0) return card;
        if (strncmp("MIG-", name, 4) == 0 && strncmp(text + 4, name + 4, strlen(name + 4)) == 0)
            return card;
    }
    return -1;
}

int cuInit(unsigned flags) {
    const char *variable = getenv("CUDA_VISIBLE_DEVICES");
    char copy[1024];
    strcpy(copy, variable ? variable : "0,1,2,3,4,5,6,7");
    for (char *name = strtok(copy, ", "); name; name = strtok(NULL, ", ")) {
        int card = card_of(name);
        if (card < 0) break;
        shown[count++] = card;
        if (strncmp("MIG-", name, 4) == 0) break;
    }
    return count ? 0 : 100;
}

int cuDeviceGetCount(int *result) { *result = count; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetUuid(unsigned char *uuid, int device) {
    memset(uuid, shown[device] + 1, 16);
    return 0;
}
